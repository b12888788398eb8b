"""Tools that hosts of Chat Completions run: how they are sent, and how calls are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...types import ServerTool
from ..deltas import (
    CitationReport,
    Delta,
    ServerToolFragment,
    ServerToolOutput,
    UsageReport,
)
from ..request import Request
from ..wire import EncodedServerTool
from ._fields import as_mapping, as_mappings, optional_id, optional_text
from ._images import image_delta

_LOCATION = ("city", "region", "country", "timezone")

# === Requests ===============================================================================


def encode_server_tool(tool: ServerTool, request: Request) -> EncodedServerTool | str | None:
    """Return a tool in the format of the host; None: the host does not run it."""
    options = dict(tool.options)
    match request.provider:
        case "openrouter":
            encoded = _encode_for_openrouter(tool.kind, options)
        case "groq":
            encoded = _encode_for_groq(tool.kind, options, request.model_id)
        case "perplexity" if tool.kind == "web_search":
            encoded = _encode_for_perplexity(options)
        case "openai" if tool.kind == "web_search" and "-search-" in request.model_id:
            search = _search_options(options)
            if location := _take(options, *_LOCATION):
                search["user_location"] = {"type": "approximate", "approximate": location}
            encoded = EncodedServerTool(None, {"web_search_options": search})
        case _:
            encoded = None
    if encoded is not None and options:
        names = ", ".join(sorted(options))
        request.warn("option_ignored", f"{tool.name} of {request.model} has no {names}")
    return encoded


def _take(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Remove options and return them."""
    return {name: options.pop(name) for name in names if name in options}


def _search_options(options: dict[str, Any]) -> dict[str, Any]:
    size = options.pop("context_size", None)
    return {"search_context_size": size} if size else {}


def _encode_for_openrouter(kind: str, options: dict[str, Any]) -> EncodedServerTool | None:
    if kind not in ("web_search", "web_fetch"):
        return None
    parameters = _take(options, "max_uses", "allowed_domains")
    if kind == "web_fetch":
        parameters |= _take(options, "blocked_domains", "max_content_tokens")
    else:
        parameters |= _search_options(options)
        if (domains := options.pop("blocked_domains", None)) is not None:
            parameters["excluded_domains"] = domains
        if location := _take(options, *_LOCATION):
            parameters["user_location"] = {"type": "approximate", **location}
    return EncodedServerTool({"type": f"openrouter:{kind}", "parameters": parameters})


def _encode_for_perplexity(options: dict[str, Any]) -> EncodedServerTool:
    """Return the settings of the search that every request makes."""
    fields: dict[str, Any] = {}
    search = _search_options(options)
    if location := _take(options, "city", "region", "country"):
        search["user_location"] = location
    if search:
        fields["web_search_options"] = search
    domains = [*options.pop("allowed_domains", ())]
    domains += [f"-{domain}" for domain in options.pop("blocked_domains", ())]
    if domains:
        fields["search_domain_filter"] = domains
    return EncodedServerTool(None, fields)


# The names of tools by what runs them: systems of Groq's own, and models.
_COMPOUND_TOOLS = {
    "web_search": "web_search", "web_fetch": "visit_website", "code_execution": "code_interpreter",
}  # fmt: skip
_GPT_OSS_TOOLS = {"web_search": "browser_search", "code_execution": "code_interpreter"}
# Only this version of the systems reads pages; the one before it is the default.
_COMPOUND_VERSION = {"Groq-Model-Version": "latest"}


def _encode_for_groq(kind: str, options: dict[str, Any], model_id: str) -> EncodedServerTool | None:
    if "gpt-oss" in model_id:
        name = _GPT_OSS_TOOLS.get(kind)
        return EncodedServerTool({"type": name}) if name else None
    if "compound" not in model_id or kind not in _COMPOUND_TOOLS:
        return None
    enabled = {"tools": {"enabled_tools": [_COMPOUND_TOOLS[kind]]}}
    fields: dict[str, Any] = {"compound_custom": enabled}
    if kind == "web_fetch":
        fields["extra_headers"] = _COMPOUND_VERSION
    names = {"allowed_domains": "include_domains", "blocked_domains": "exclude_domains"}
    if kind == "web_search" and (filters := _take(options, *names)):
        fields["search_settings"] = {names[name]: value for name, value in filters.items()}
    return EncodedServerTool(None, fields)


# === Responses ==============================================================================


def decode_search_results(results: Any) -> Iterator[Delta]:
    """Yield the search that Perplexity made before it answered."""
    found = as_mappings(results)
    if not found:
        return
    raw = {"search_results": found}
    call_id = optional_id(found[0].get("id")) or ""
    yield ServerToolFragment(id=call_id, name="web_search", raw=raw)
    yield ServerToolOutput(
        call_id, "web_search", sources=[_source(result, "snippet") for result in found], raw=raw
    )


def _source(result: Mapping[str, Any], quote: str) -> CitationReport:
    return CitationReport(
        source=optional_text(result.get("url")) or "",
        title=optional_text(result.get("title")),
        quote=optional_text(result.get(quote)),
    )


# Names of Groq's tools in answers.
_EXECUTED = {
    "search": "web_search", "browser_search": "web_search", "browser.search": "web_search",
    "visit_website": "web_fetch", "browser.open": "web_fetch",
    "code_interpreter": "code_execution", "python": "code_execution",
}  # fmt: skip
_OUTPUTS = ("output", "browser_results", "code_results")


class ExecutedTools:
    """Decodes the tools that Groq ran. A stream has each of them twice: without and with output."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._started: set[str] = set()
        self._ended: set[str] = set()

    def decode(self, tools: Any, deltas: list[Delta]) -> None:
        """Append the deltas of tools in a chunk, or in a whole response."""
        for position, tool in enumerate(as_mappings(tools)):
            index = tool.get("index")
            call_id = f"executed_tool_{index if type(index) is int else position}"
            action = optional_text(tool.get("name")) or optional_text(tool.get("type")) or ""
            name = _EXECUTED.get(action, action)
            if call_id not in self._started:
                self._started.add(call_id)
                self._counts[action] = self._counts.get(action, 0) + 1
                arguments = optional_text(tool.get("arguments")) or ""
                deltas.append(ServerToolFragment(id=call_id, name=name, arguments=arguments))
                deltas.append(UsageReport(server_tool_calls=dict(self._counts)))
            if call_id not in self._ended and _has_output(tool):
                self._ended.add(call_id)
                _append_output(call_id, name, tool, deltas)


def _has_output(tool: Mapping[str, Any]) -> bool:
    """Return whether a tool has run: before that, `search_results` has an empty list."""
    results = as_mapping(tool.get("search_results")).get("results")
    return bool(results) or any(tool.get(field) for field in _OUTPUTS)


def _append_output(call_id: str, name: str, tool: Mapping[str, Any], deltas: list[Delta]) -> None:
    codes = as_mappings(tool.get("code_results"))
    pictures = [png for code in codes if (png := optional_text(code.get("png")))]
    if pictures:  # the message has them as images
        tool = {**tool, "code_results": [{**code, "png": None} for code in codes]}
    pages = as_mappings(as_mapping(tool.get("search_results")).get("results"))
    pages += as_mappings(tool.get("browser_results"))
    text = optional_text(tool.get("output")) or ""
    if not text:
        text = "\n".join(filter(None, (optional_text(code.get("text")) for code in codes)))
    raw = {"executed_tool": tool}
    deltas.append(ServerToolFragment(id=call_id, raw=raw))
    sources = [_source(page, "content") for page in pages]
    if sources and name in ("web_search", "web_fetch"):
        text = ""  # a copy of the sources
    deltas.append(ServerToolOutput(call_id, name, text, sources=sources, raw=raw))
    deltas.extend(image_delta(png, "image/png") for png in pictures)
