"""Small helpers that stand on their own."""
