"""Parse command-line arguments into values for the library."""
