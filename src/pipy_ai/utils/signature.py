"""Show the fields of a TypedDict in the signatures of functions that take `Unpack` of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _Annotation(str):
    """An unevaluated annotation that `help()` shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def expand_keywords(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> Callable[[F], F]:
    """Return a decorator that lists `fields` in place of `**keywords` in a function's signature.

    `help()`, IPython and Jedi read `__signature__`; calls are not affected. Annotations are shown
    as written in the source: evaluating them would import the types.

    Args:
        fields: The annotations of the TypedDict that the function unpacks.
        defaults: The default of each field.

    Example:
        >>> @expand_keywords({"seed": "int | None"}, {"seed": None})
        ... def draw(count: int, **keywords: Any) -> list[int]: ...
        >>> inspect.signature(draw)
        <Signature (count: int, *, seed: int | None = None) -> list[int]>
    """
    keywords = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults[name],
            annotation=_unquoted(getattr(annotation, "__forward_arg__", annotation)),
        )
        for name, annotation in fields.items()
    ]

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        *named, variadic = [
            parameter.replace(annotation=_unquoted(parameter.annotation))
            for parameter in signature.parameters.values()
        ]
        assert variadic.kind is inspect.Parameter.VAR_KEYWORD, function
        decorated: Any = function
        decorated.__signature__ = signature.replace(
            parameters=[*named, *keywords],
            return_annotation=_unquoted(signature.return_annotation),
        )
        return function

    return decorate


def _unquoted(annotation: Any) -> Any:
    return _Annotation(annotation) if isinstance(annotation, str) else annotation
