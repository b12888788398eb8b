"""Check that models have the tools of `--search`, `--fetch` and `--code`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...types import ServerTool

_VERBS = {
    "web_search": "search the web", "web_fetch": "read web pages", "code_execution": "run code",
}  # fmt: skip


def check_provider_tools(
    tools: list[ServerTool], models: list[str], options: dict[str, Any], has_functions: bool
) -> None:
    """Check that the first model has one of the tools, if it gets no others.

    A tool that is missing beside others is left out with a warning when the request is sent.

    Raises:
        ValueError: It has none; the message names a model that has.
    """
    if has_functions or models[0].startswith("faux/"):
        return
    if any(_has_tool(models[0], tool, options) for tool in tools):
        return
    tool = tools[0]
    verb = _VERBS[tool.kind]
    advice = f"use a model that can: -m {model}" if (model := _model_with(tool)) else "leave it out"
    raise ValueError(f"{models[0]} cannot {verb}; {advice}")


def _has_tool(model: str, tool: ServerTool, options: dict[str, Any]) -> bool:
    from ..._requests import build_request
    from ...context import ctx
    from ...provider.transport import wire_for
    from ...provider.wire import EncodedServerTool

    given = {name: options.get(name) for name in ("api_base", "extra")}
    request = build_request(model, ctx("-", tools=[tool]), None, given)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
    encoded = wire_for(request).server_tool(tool, request)
    return isinstance(encoded, EncodedServerTool)


def _model_with(tool: ServerTool) -> str:
    """Return a model that has a tool, if possible one whose key is set."""
    from ...registry.catalogue import has_key
    from ...registry.default import PREFERRED_MODELS
    from ...registry.registry import get_registry

    able = [name for name in PREFERRED_MODELS if _has_tool(name, tool, {})]
    providers = get_registry().providers()
    with_key = [name for name in able if has_key(providers.get(name.partition("/")[0]) or {})]
    return next(iter(with_key or able), "")
