"""The command `pipy`, also available as `python -m pipy_ai`.

Imports happen inside the `try`, so that Ctrl-C during them is handled. They leave no
garbage, so garbage collection starts with the command and skips what they created.
"""

import gc
import sys


def main() -> int:
    """Run `pipy` and return its exit code."""
    gc.disable()
    try:
        from .cli.main import main

        return main()
    except KeyboardInterrupt:
        return 130
    finally:
        gc.freeze()  # spares the collection at exit, which frees nothing that exiting does not


if __name__ == "__main__":
    sys.exit(main())
