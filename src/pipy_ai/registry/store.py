"""The former names of `pipy_ai.registry.index`, for scripts written before it was renamed."""

from __future__ import annotations

from .index import models_in_feed as records_of
from .index import providers_in_feed as hosts_of
from .index_writer import encode_catalogue as compile_feed
from .index_writer import write_catalogue as write

__all__ = ["compile_feed", "hosts_of", "records_of", "write"]
