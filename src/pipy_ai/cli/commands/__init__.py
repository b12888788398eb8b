"""The commands of `pipy`, one module each."""
