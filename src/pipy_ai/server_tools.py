"""Tools that the provider runs itself: web search, code execution and others.

    from pipy_ai import complete, ctx, web_search

    message = complete("anthropic/claude-sonnet-4-5", ctx("Who won?", tools=[web_search()]))
    for citation in message.citations:
        print(citation.title, citation.source)

Each means the same at every provider that has it. Elsewhere it is left out with a warning, or is
an error if it is the only tool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from pydantic import SecretStr

from .types import FileContent, ServerTool, ServerToolKind

T = TypeVar("T")

__all__ = [
    "code_execution",
    "file_search",
    "image_generation",
    "mcp_server",
    "native",
    "web_fetch",
    "web_search",
]


def web_search(
    *,
    max_uses: int | None = None,
    allowed_domains: Sequence[str] | None = None,
    blocked_domains: Sequence[str] | None = None,
    city: str | None = None,
    region: str | None = None,
    country: str | None = None,
    timezone: str | None = None,
    context_size: Literal["low", "medium", "high"] | None = None,
) -> ServerTool:
    """Return a tool that lets the provider search the web.

    Args:
        max_uses: The maximum number of searches per response.
        allowed_domains: The only sites that are searched, such as `python.org`.
        blocked_domains: Sites that are not searched.
        city: Where the user is, for local results.
        region: The user's region or state.
        country: The user's country, as two letters such as `DE`.
        timezone: The user's time zone, such as `Europe/Berlin`.
        context_size: How much of the results the model reads.

    Raises:
        ValueError: Both `allowed_domains` and `blocked_domains` are given, or `max_uses` is less
            than 1.

    Example:
        >>> from pipy_ai import web_search
        >>> web_search(max_uses=3, allowed_domains=["python.org"]).options
        {'max_uses': 3, 'allowed_domains': ['python.org']}
    """
    _check_domains(allowed_domains, blocked_domains)
    return _server_tool(
        "web_search",
        max_uses=_positive(max_uses, "max_uses"),
        allowed_domains=_as_list(allowed_domains),
        blocked_domains=_as_list(blocked_domains),
        city=city,
        region=region,
        country=country,
        timezone=timezone,
        context_size=context_size,
    )


def web_fetch(
    *,
    max_uses: int | None = None,
    allowed_domains: Sequence[str] | None = None,
    blocked_domains: Sequence[str] | None = None,
    max_content_tokens: int | None = None,
) -> ServerTool:
    """Return a tool that lets the provider read pages whose URLs are in the conversation.

    Args:
        max_uses: The maximum number of pages per response.
        allowed_domains: The only sites that are read.
        blocked_domains: Sites that are not read.
        max_content_tokens: The maximum number of tokens of a page.

    Raises:
        ValueError: Both `allowed_domains` and `blocked_domains` are given, or a number is less
            than 1.
    """
    _check_domains(allowed_domains, blocked_domains)
    return _server_tool(
        "web_fetch",
        max_uses=_positive(max_uses, "max_uses"),
        allowed_domains=_as_list(allowed_domains),
        blocked_domains=_as_list(blocked_domains),
        max_content_tokens=_positive(max_content_tokens, "max_content_tokens"),
    )


def code_execution(*, file_ids: Sequence[str | FileContent] | None = None) -> ServerTool:
    """Return a tool that lets the provider run code that the model writes.

    Args:
        file_ids: Uploaded files that the code can read, or the provider's ids of them.
    """
    files = _as_list(file_ids)
    ids = None if files is None else [f if isinstance(f, str) else f.id for f in files]
    return _server_tool("code_execution", file_ids=ids)


def file_search(store_ids: Sequence[str], *, max_results: int | None = None) -> ServerTool:
    """Return a tool that lets the provider search files that are stored there.

    Args:
        store_ids: OpenAI's ids of vector stores, or Google's names of file search stores.
        max_results: The maximum number of passages per search.

    Raises:
        ValueError: `store_ids` is empty, or `max_results` is less than 1.
    """
    if isinstance(store_ids, str) or not store_ids:
        raise ValueError("store_ids must be a list with at least one id")
    return _server_tool(
        "file_search",
        store_ids=list(store_ids),
        max_results=_positive(max_results, "max_results"),
    )


def image_generation(
    *,
    model: str | None = None,
    size: str | None = None,
    quality: str | None = None,
    background: Literal["transparent", "opaque", "auto"] | None = None,
    format: Literal["png", "jpeg", "webp"] | None = None,
    partial_images: int | None = None,
) -> ServerTool:
    """Return a tool that lets the provider generate images.

    Args:
        model: The provider's image model.
        size: Width and height in pixels, such as `1024x1024`.
        quality: The provider's name for the quality, such as `low` or `high`.
        background: Whether the background is transparent.
        format: The format of the files.
        partial_images: How many previews are sent while the image is generated, 0 to 3.
    """
    return _server_tool(
        "image_generation",
        model=model,
        size=size,
        quality=quality,
        background=background,
        format=format,
        partial_images=partial_images,
    )


def mcp_server(
    url: str,
    *,
    name: str,
    token: str | None = None,
    allowed_tools: Sequence[str] | None = None,
) -> ServerTool:
    """Return the tools of a remote MCP server, which the provider connects to and calls.

    Args:
        url: The server's URL, which must begin with `https://`.
        name: A short name of the server.
        token: An access token for it. It is sent to the provider and never serialized.
        allowed_tools: The only tools that may be called.

    Raises:
        ValueError: The URL does not begin with `https://`.

    Example:
        >>> from pipy_ai import mcp_server
        >>> mcp_server("https://mcp.example.com", name="docs", token="secret")
        ServerTool(kind='mcp_server', options={'url': 'https://mcp.example.com', 'name': 'docs'})
    """
    if not url.lower().startswith("https://"):
        raise ValueError(f"the address of the MCP server {name!r} is not https: {url}")
    tool = _server_tool("mcp_server", url=url, name=name, allowed_tools=_as_list(allowed_tools))
    tool.token = SecretStr(token) if token else None
    return tool


def native(tool: Mapping[str, Any]) -> ServerTool:
    """Return a tool in the provider's own format, which is sent unchanged.

    Example:
        >>> from pipy_ai import native
        >>> native({"type": "x_search", "from_date": "2026-01-01"}).name
        'x_search'
    """
    return ServerTool(kind="native", options=dict(tool))


def _server_tool(kind: ServerToolKind, **options: Any) -> ServerTool:
    given = {name: value for name, value in options.items() if value is not None}
    return ServerTool(kind=kind, options=given)


def _as_list(values: Sequence[T] | None) -> list[T] | None:
    if isinstance(values, str):
        raise ValueError(f"a list is needed, not the text {values!r}")
    return None if values is None else list(values)


def _check_domains(allowed: Sequence[str] | None, blocked: Sequence[str] | None) -> None:
    if allowed and blocked:
        raise ValueError("give either allowed_domains or blocked_domains, not both")


def _positive(value: int | None, name: str) -> int | None:
    if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value
