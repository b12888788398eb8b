"""Items of the Responses API with OpenAI's own tools, and the events that stream them.

In the shapes of the recordings in pydantic-ai's test suite, of July 2025 to September 2026.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

Item = dict[str, Any]

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n whole").decode()
PREVIEW = base64.b64encode(b"\x89PNG\r\n\x1a\n half").decode()
PLOT = base64.b64encode(b"\x89PNG\r\n\x1a\n plot").decode()

REASONING: Item = {
    "id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA-own",
}  # fmt: skip
SEARCH: Item = {
    "id": "ws_1", "type": "web_search_call", "status": "completed",
    "action": {
        "type": "search", "query": "tallest penguin", "queries": ["tallest penguin", "emperor"],
        "sources": [
            {"type": "url", "url": "https://a.example/emperor"},
            {"type": "url", "url": "https://b.example"},
        ],
    },
}  # fmt: skip
OPEN_PAGE: Item = {
    "id": "ws_2", "type": "web_search_call", "status": "completed",
    "action": {"type": "open_page", "url": "https://a.example/emperor"},
}  # fmt: skip
FILES: Item = {
    "id": "fs_1", "type": "file_search_call", "status": "completed",
    "queries": ["return window"],
    "results": [{
        "file_id": "file-1", "filename": "terms.txt", "score": 0.9,
        "text": "Thirty days.", "attributes": {},
    }],
}  # fmt: skip
CODE: Item = {
    "id": "ci_1", "type": "code_interpreter_call", "status": "completed",
    "code": 'print("é\n" * 2)', "container_id": "cntr_1",
    "outputs": [
        {"type": "logs", "logs": "é\né\n"},
        {"type": "image", "url": f"data:image/png;base64,{PLOT}"},
    ],
}  # fmt: skip
MCP_LIST: Item = {
    "id": "mcpl_1", "type": "mcp_list_tools", "server_label": "games",
    "tools": [{
        "name": "get_my_games", "description": "Return my games.", "annotations": None,
        "input_schema": {"type": "object", "properties": {}},
    }],
}  # fmt: skip
MCP_CALL: Item = {
    "id": "mcp_1", "type": "mcp_call", "status": "completed", "server_label": "games",
    "name": "get_my_games", "arguments": '{"year": 2022}', "output": '["Elden Ring"]',
    "error": None, "approval_request_id": None,
}  # fmt: skip
APPROVAL: Item = {
    "id": "mcpr_1", "type": "mcp_approval_request", "server_label": "games",
    "name": "delete_game", "arguments": '{"id": 7}',
}  # fmt: skip
IMAGE: Item = {
    "id": "ig_1", "type": "image_generation_call", "status": "completed", "action": "generate",
    "background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024",
    "result": PNG, "revised_prompt": "A red circle on white.",
}  # fmt: skip
X_SEARCH: Item = {
    "id": "ctc_1_xs_call_1", "type": "custom_tool_call", "status": "completed",
    "call_id": "xs_call_1", "name": "x_keyword_search", "input": '{"query": "from:nasa"}',
}  # fmt: skip


def url_citation(start: int, end: int, url: str = "https://a.example/emperor") -> Item:
    return {
        "type": "url_citation", "start_index": start, "end_index": end, "title": "Emperor",
        "url": url,
    }  # fmt: skip


def message(text: str, *annotations: Item, id: str = "msg_1") -> Item:
    part = {"type": "output_text", "annotations": list(annotations), "logprobs": [], "text": text}
    return {
        "id": id, "type": "message", "role": "assistant", "status": "completed",
        "content": [part],
    }  # fmt: skip


CITED = message("Emperors are the tallest. (a.example)", url_citation(26, 37))


def response(*items: Item, **fields: Any) -> Item:
    """Return a complete response."""
    images = sum(bool(item.get("result")) for item in items)
    image_gen = {
        "input_tokens": 71 * images,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 71 * images},
        "output_tokens": 196 * images,
        "output_tokens_details": {"image_tokens": 196 * images, "text_tokens": 0},
        "total_tokens": 267 * images,
    }
    usage = {
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110,
    }  # fmt: skip
    searches = sum(
        item["type"] == "web_search_call" and (item["action"] or {}).get("type") == "search"
        for item in items
    )
    return {
        "id": "resp_1", "object": "response", "created_at": 1790719463, "status": "completed",
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "model": "gpt-5-2025-08-07", "output": list(items), "parallel_tool_calls": True,
        "temperature": 1.0, "tool_choice": "auto",
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "top_p": 1.0, "usage": usage,
        "tool_usage": {"image_gen": image_gen, "web_search": {"num_requests": searches}},
        **fields,
    }  # fmt: skip


def events(*items: Item, **fields: Any) -> list[Item]:
    """Return the events of a streamed response."""
    whole = response(*items, **fields)
    started = {**whole, "output": [], "usage": None, "status": "in_progress"}
    found: list[Item] = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
    ]
    for index, item in enumerate(items):
        found += _item_events(index, item)
    found.append({"type": "response.completed", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(found)]


# The fields that an item lacks when it is announced, and its events in between.
_EMPTY: dict[str, Any] = {
    "code": "", "outputs": [], "arguments": "", "output": None, "input": "", "results": None,
    "result": None, "tools": [], "queries": [], "content": [],
}  # fmt: skip
_PROGRESS = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "mcp_list_tools": ("in_progress", "completed"),
    "mcp_call": ("in_progress", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
}


def _item_events(index: int, item: Item) -> Iterator[Item]:
    where = {"output_index": index, "item_id": item["id"]}
    kind = item["type"]
    announced = {name: _EMPTY.get(name, value) for name, value in item.items()}
    if "status" in item:
        announced["status"] = "in_progress"
    if kind == "web_search_call":
        announced["action"] = {"type": "search"}
    yield {"type": "response.output_item.added", "output_index": index, "item": announced}
    first, *others = _PROGRESS.get(kind, ("",))
    if first:
        yield {"type": f"response.{kind}.{first}", **where}
    yield from _delta_events(where, item)
    for name in others:
        yield {"type": f"response.{kind}.{name}", **where}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _delta_events(where: Item, item: Item) -> Iterator[Item]:
    match item["type"]:
        case "code_interpreter_call":
            kind = "response.code_interpreter_call_code"
            yield from _pieces(kind, where, item["code"])
            yield {"type": f"{kind}.done", "code": item["code"], **where}
        case "mcp_call":
            kind = "response.mcp_call_arguments"
            yield from _pieces(kind, where, item["arguments"])
            yield {"type": f"{kind}.done", "arguments": item["arguments"], **where}
        case "custom_tool_call":
            kind = "response.custom_tool_call_input"
            yield from _pieces(kind, where, item["input"])
            yield {"type": f"{kind}.done", "input": item["input"], **where}
        case "image_generation_call" if item["result"]:
            kind = "response.image_generation_call.partial_image"
            yield {"type": kind, "partial_image_b64": PREVIEW, "partial_image_index": 0, **where}
        case "message":
            for number, part in enumerate(item["content"]):
                yield from _part_events({**where, "content_index": number}, part)


def _part_events(where: Item, part: Item) -> Iterator[Item]:
    empty = {**part, "text": "", "annotations": []}
    yield {"type": "response.content_part.added", "part": empty, **where}
    if part["text"]:
        yield from _pieces("response.output_text", where, part["text"], logprobs=[])
    for number, annotation in enumerate(part["annotations"]):
        kind = "response.output_text.annotation.added"
        yield {"type": kind, "annotation": annotation, "annotation_index": number, **where}
    yield {"type": "response.output_text.done", "text": part["text"], "logprobs": [], **where}
    yield {"type": "response.content_part.done", "part": part, **where}


def _pieces(kind: str, where: Item, text: str, **fields: Any) -> Iterator[Item]:
    half = len(text) // 2
    for piece in (text[:half], text[half:]):
        yield {"type": f"{kind}.delta", "delta": piece, **where, **fields}
