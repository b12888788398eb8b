"""Show the fields of a TypedDict in the signatures of functions that take `Unpack` of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def expand_keywords(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> Callable[[F], F]:
    """Return a decorator that lists `fields` in place of `**keywords` in a function's signature.

    `help()`, IPython and Jedi read `__signature__`; calls are not affected.

    Args:
        fields: The annotations of the TypedDict that the function unpacks.
        defaults: The value that each field has when it is not given.

    Example:
        >>> @expand_keywords({"seed": "int | None"}, {"seed": None})
        ... def draw(count: int, **keywords: Any) -> list[int]: ...
        >>> str(inspect.signature(draw)).replace("'", "")
        '(count: int, *, seed: int | None = None) -> list[int]'
    """
    keywords = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults[name],
            annotation=getattr(annotation, "__forward_arg__", annotation),
        )
        for name, annotation in fields.items()
    ]

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        *named, variadic = signature.parameters.values()
        assert variadic.kind is inspect.Parameter.VAR_KEYWORD, function
        shown: Any = function
        shown.__signature__ = signature.replace(parameters=[*named, *keywords])
        return function

    return decorate
