"""Parse untrusted YAML."""

from __future__ import annotations

from typing import Any

_MAX_NODES = 100_000  # with every alias expanded: a few lines could represent billions


def parse_yaml(text: str, max_nodes: int = _MAX_NODES) -> Any:
    """Parse a YAML document of plain data.

    `max_nodes` limits its values, with every alias expanded.

    Raises:
        ValueError: It is not valid, or too large. The message begins with the line if it is known.

    Example:
        >>> parse_yaml("a: [1, true]")
        {'a': [1, True]}
        >>> parse_yaml("a: &x [*x]")
        Traceback (most recent call last):
        ValueError: line 1: an alias contains itself
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > max_nodes:
            raise ValueError(
                f"the document has more than {max_nodes:,} values after expanding its aliases"
            )
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise ValueError(f"{line}{getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise ValueError("the document is nested too deeply") from None
    except (LookupError, TypeError, AttributeError, OverflowError):  # PyYAML's own
        raise ValueError("a value does not match its tag, as in `!!bool x`") from None


def _size(node: Any, sizes: dict[int, int]) -> int:
    """Return the number of nodes with every alias expanded."""
    size = sizes.get(id(node))
    if size is None:
        sizes[id(node)] = -1
        children = node.value if isinstance(node.value, list) else ()
        pairs = (child if isinstance(child, tuple) else (child,) for child in children)
        size = sizes[id(node)] = 1 + sum(_size(inner, sizes) for pair in pairs for inner in pair)
    elif size < 0:
        raise ValueError(f"line {node.start_mark.line + 1}: an alias contains itself")
    return size
