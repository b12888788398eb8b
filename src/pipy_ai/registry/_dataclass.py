"""`dataclass(slots=True)` for the catalogue, whose `repr` is short.

`pipy models` should be instant, so it does not import `dataclasses`.
"""

from __future__ import annotations

from ..utils import dataclass as _light

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

field = _light.field


def dataclass(cls: type) -> Any:
    """Turn a class into a slotted dataclass."""
    decorated = _light.dataclass(cls)
    if "__repr__" not in vars(cls):
        decorated.__repr__ = _repr
    return decorated


def _repr(self: Any) -> str:
    from ..reprs import dataclass_repr

    return dataclass_repr(self, hidden=("raw",))
