"""The command `pipy`. Each group of commands is a module; `main` imports only the one it needs."""
