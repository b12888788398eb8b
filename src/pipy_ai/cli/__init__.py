"""The `pipy` command line."""
