"""Saved conversations: files, messages, transcripts."""
