"""The command `pipy`, also available as `python -m pipy_ai`.

Imports happen inside the `try`, so that Ctrl-C during them is handled.
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
