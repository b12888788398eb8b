"""Tools that Gemini runs, images and audio: how they are sent and read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...types import AudioContent, ImageContent, ServerTool, ServerToolCall, ServerToolResult
from ..deltas import (
    AudioData,
    CitationReport,
    Delta,
    Omitted,
    ServerToolFragment,
    ServerToolOutput,
)
from ..profiles import GEMINI_1_AND_2
from ..request import Request
from ..wire import EncodedServerTool
from ._fields import optional_id, optional_text
from ._images import image_delta

# Fields of a candidate that show what its tools did. They are not sent back.
_METADATA = ("groundingMetadata", "urlContextMetadata")
_TOOL_NAMES = {
    "GOOGLE_SEARCH_WEB": "web_search",
    "URL_CONTEXT": "web_fetch",
    "FILE_SEARCH": "file_search",
}

# === Requests ===============================================================================


def encode_server_tool(tool: ServerTool, request: Request) -> EncodedServerTool | str | None:
    """Return a tool in Gemini's format, why it cannot be used, or None: Gemini does not have it."""
    options = dict(tool.options)
    encoded: dict[str, Any]
    match tool.kind:
        case "web_search":
            encoded = {"googleSearch": {}}
        case "web_fetch":
            encoded = {"urlContext": {}}
        case "code_execution":
            encoded = {"codeExecution": {}}
        case "file_search" if request.provider == "google":
            search = {"fileSearchStoreNames": options.pop("store_ids")}
            if (max_results := options.pop("max_results", None)) is not None:
                search["topK"] = max_results
            encoded = {"fileSearch": search}
        case "mcp_server" if request.provider == "google" and "allowed_tools" in options:
            return f"{request.model} cannot limit the tools of an MCP server"
        case "mcp_server" if request.provider == "google":
            transport: dict[str, Any] = {"url": options.pop("url")}
            if tool.token is not None:
                bearer = f"Bearer {tool.token.get_secret_value()}"
                transport["headers"] = {"Authorization": bearer}
            server = {"name": options.pop("name"), "streamableHttpTransport": transport}
            encoded = {"mcpServers": [server]}
        case _:
            return None
    if GEMINI_1_AND_2.search(request.model_id) and request.has_functions:
        return f"{request.model} does not accept {tool.name} together with functions"
    if options:
        names = ", ".join(sorted(options))
        request.warn("option_ignored", f"Gemini's {tool.kind} has no {names}")
    return EncodedServerTool(encoded)


def encode_own_part(
    part: ServerToolCall | ServerToolResult | ImageContent | AudioContent,
) -> dict[str, Any] | None:
    """Return a part of an earlier answer as Gemini sent it; None: it is not sent back."""
    if any(name in part.raw for name in _METADATA):
        return None
    if isinstance(part, ImageContent | AudioContent):
        return {**part.raw, "inlineData": {"mimeType": part.mime_type, "data": part.data}}
    return dict(part.raw)


# === Responses ==============================================================================


def decode_own_part(part: dict[str, Any]) -> Delta:
    """Return the delta of a part that is neither text nor a call of a function."""
    if isinstance(data := part.get("inlineData"), dict):
        return _decode_media(part, data)
    if isinstance(code := part.get("executableCode"), dict):
        arguments = {"code": _text(code.get("code")), "language": _text(code.get("language"))}
        return _call(optional_id(code.get("id")), "code_execution", arguments, part)
    if isinstance(result := part.get("codeExecutionResult"), dict):
        is_error = result.get("outcome") not in (None, "OUTCOME_OK")
        text = _text(result.get("output")) or (_text(result.get("outcome")) if is_error else "")
        call_id = optional_id(result.get("id")) or ""
        return ServerToolOutput(call_id, "code_execution", text, is_error, raw=part)
    if isinstance(call := part.get("toolCall"), dict):
        given = call.get("args")
        arguments = given if isinstance(given, dict) else {}
        return _call(optional_id(call.get("id")), _tool_name(call), arguments, part)
    if isinstance(response := part.get("toolResponse"), dict):
        result = response.get("response")
        text = json.dumps(result, ensure_ascii=False) if result else ""
        return ServerToolOutput(
            optional_id(response.get("id")) or "", _tool_name(response), text, raw=part
        )
    file = part.get("fileData")
    mime_type = _text(file.get("mimeType")) if isinstance(file, dict) else ""
    return Omitted(mime_type or min(name for name in part if name != "thoughtSignature"))


def _decode_media(part: dict[str, Any], data: dict[str, Any]) -> Delta:
    mime_type, content = _text(data.get("mimeType")), _text(data.get("data"))
    kind = mime_type.partition("/")[0]
    raw = {"inlineData": {}, **{name: part[name] for name in part if name != "inlineData"}}
    if kind == "image":
        return image_delta(content, mime_type, raw=raw)
    if kind == "audio":
        return AudioData(content, mime_type=mime_type)
    return Omitted(mime_type or "inlineData")


def _call(
    call_id: str | None, name: str, arguments: dict[str, Any], raw: dict[str, Any]
) -> ServerToolFragment:
    text = json.dumps(arguments, ensure_ascii=False)
    return ServerToolFragment(id=call_id or "", name=name, arguments=text, raw=raw)


def _tool_name(call: Mapping[str, Any]) -> str:
    name = _text(call.get("toolType"))
    return _TOOL_NAMES.get(name, name.lower())


def _text(value: Any) -> str:
    """Return text. Other values stay in the part that is kept."""
    return optional_text(value) or ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def decode_metadata(candidate: Mapping[str, Any]) -> Iterator[Delta]:
    """Yield the searches and pages of an answer, and its citations, once its text is complete."""
    context = candidate.get("urlContextMetadata")
    context = context if isinstance(context, dict) else {}
    if isinstance(grounding := candidate.get("groundingMetadata"), dict):
        yield from _decode_grounding(grounding, bool(context))
    yield from _decode_pages(context)
    if isinstance(cited := candidate.get("citationMetadata"), dict):
        for citation in _mappings(cited.get("citations")) + _mappings(cited.get("citationSources")):
            yield CitationReport(
                start=_offset(citation.get("startIndex")) or 0,
                end=_offset(citation.get("endIndex")),
                in_bytes=True,
                source=_text(citation.get("uri")),
                title=_text(citation.get("title")) or None,
                data=citation,
            )


def _decode_grounding(grounding: dict[str, Any], has_pages: bool) -> Iterator[Delta]:
    chunks = _list(grounding.get("groundingChunks"))
    sources = [_source(chunk) for chunk in chunks]
    queries = [
        query
        for name in ("webSearchQueries", "imageSearchQueries", "retrievalQueries")
        for query in _list(grounding.get(name))
        if isinstance(query, str) and query
    ]
    if not (queries or sources):
        return
    is_file_search = any("retrievedContext" in chunk for chunk in _mappings(chunks))
    name = "web_search" if queries or not is_file_search else "file_search"
    if not queries and any("maps" in chunk for chunk in _mappings(chunks)):
        name = "google_maps"
    for support in _mappings(grounding.get("groundingSupports")):
        yield from _decode_support(support, sources)
    if has_pages and name == "web_search" and not queries:
        return  # the answer cites fetched pages, without a search
    raw = {"groundingMetadata": grounding}
    yield _call(None, name, {"queries": queries}, raw)
    yield ServerToolOutput(name=name, sources=[s for s in sources if s.source], raw=raw)


def _source(chunk: Any) -> CitationReport:
    """Return the source in a chunk, empty if there is none: citations count chunks."""
    facts: Any = {}
    if isinstance(chunk, dict):
        facts = next((value for value in chunk.values() if isinstance(value, dict)), {})
    # Files of a file search may have no address.
    names = ("uri", "sourceUri", "documentName", "fileSearchStore")
    return CitationReport(
        source=next(filter(None, (_text(facts.get(name)) for name in names)), ""),
        title=_text(facts.get("title")) or None,
        quote=_text(facts.get("text")) or None,
        data=chunk if isinstance(chunk, dict) else {},
    )


def _decode_support(
    support: dict[str, Any], sources: list[CitationReport]
) -> Iterator[CitationReport]:
    segment = support.get("segment")
    indices = support.get("groundingChunkIndices")
    if not isinstance(segment, dict) or not isinstance(indices, list):
        return
    for index in indices:
        if type(index) is not int or not 0 <= index < len(sources):
            continue
        source = sources[index]
        yield CitationReport(
            text=_text(segment.get("text")),
            start=_offset(segment.get("startIndex")) or 0,
            end=_offset(segment.get("endIndex")),
            in_bytes=True,
            source=source.source,
            title=source.title,
            quote=source.quote,
            data={"segment": segment, "groundingChunk": source.data},
        )


def _offset(value: Any) -> int | None:
    return value if type(value) is int else None


def _decode_pages(context: dict[str, Any]) -> Iterator[Delta]:
    pages = _mappings(context.get("urlMetadata"))
    if not pages:
        return
    raw = {"urlContextMetadata": context}
    urls = [_text(page.get("retrievedUrl")) for page in pages]
    yield _call(None, "web_fetch", {"urls": urls}, raw)
    failed = [
        f"{_text(page.get('retrievedUrl'))}: {_text(page.get('urlRetrievalStatus'))}"
        for page in pages
        if _text(page.get("urlRetrievalStatus")) not in ("", "URL_RETRIEVAL_STATUS_SUCCESS")
    ]
    yield ServerToolOutput(
        name="web_fetch",
        text="\n".join(failed),
        is_error=len(failed) == len(pages),
        sources=[CitationReport(source=url) for url in urls if url],
        raw=raw,
    )
