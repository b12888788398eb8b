"""`python -m pipy_ai` is the command `pipy`."""

import sys

from .cli.main import main

sys.exit(main())
