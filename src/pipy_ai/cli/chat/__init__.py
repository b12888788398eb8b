"""`pipy chat`, the interactive session."""
