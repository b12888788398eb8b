"""The checks of `pipy doctor`."""
