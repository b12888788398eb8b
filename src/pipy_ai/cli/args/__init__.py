"""Parse and resolve command-line arguments."""
