"""The command `pipy`, also as `python -m pipy_ai`.

Nothing is imported before Ctrl-C is provided for: imports are what a command begins with.
"""

import sys


def main() -> int:
    """Run `pipy` and return its exit code."""
    try:
        from .cli.main import main

        return main()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
