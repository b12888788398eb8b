"""The logger `pipy_ai`. It prints nothing unless the application configures logging.

INFO has one line for each request, retry and fallback; DEBUG adds the HTTP requests. API keys,
prompts and answers are never logged.

    import logging

    logging.basicConfig(level=logging.INFO)
"""

from __future__ import annotations

import logging

logger = logging.getLogger("pipy_ai")
logger.addHandler(logging.NullHandler())
