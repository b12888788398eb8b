"""Rules of each vendor's API; a violation names the rule."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from . import converse_rules
from .schema_rules import cohere_refuses, tool_refusals

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def violations(path: str, body: dict[str, Any], own: set[str] | None = None) -> list[str]:
    """Return everything that the vendor behind `path` would reject. `own` has the signatures and
    ids that it issued; any other is foreign."""
    text = json.dumps(body, ensure_ascii=False)
    found = ["a lone surrogate"] if re.search("[\ud800-\udfff]", text) else []
    found += tool_refusals(path, body)
    if path.endswith("/chat/completions"):
        return found + _chat(body, own or set())
    if path.endswith("/v1/messages"):
        return found + _anthropic(body, own or set())
    if ":streamGenerateContent" in path:
        return found + _gemini(body, own or set())
    if path.endswith("/api/chat"):
        return found + _ollama(body, own or set())
    if path.endswith("/responses"):
        return found + _responses(body, own or set())
    if path.endswith("/converse-stream"):
        return found + converse_rules.refusals(path, body)
    if path.endswith("/v2/chat"):
        return found + _cohere(body, own or set())
    return [*found, f"no wire at {path}"]


def _chat(body: dict[str, Any], own: set[str]) -> list[str]:
    found: list[str] = []
    open_ids: list[str] = []
    used: set[str] = set()
    for number, message in enumerate(body["messages"]):
        role, content = message["role"], message.get("content")
        where = f"message {number} ({role})"
        if open_ids and role != "tool":
            found.append(f"{where}: calls without results {open_ids}")
            open_ids = []
        if role == "tool":
            if message["tool_call_id"] not in open_ids:
                found.append(f"{where}: a result without its call")
            else:
                open_ids.remove(message["tool_call_id"])
            if not isinstance(content, str) or not content:
                found.append(f"{where}: a result that is no text")
            continue
        calls = message.get("tool_calls") or []
        if not (content or calls or message.get("audio")):
            found.append(f"{where}: empty")
        for part in content if isinstance(content, list) else []:
            if "cache_control" in part:
                found.append(f"{where}: a mark that only Anthropic knows")
            if part["type"] == "text" and not part["text"].strip():
                found.append(f"{where}: empty text")
            if part["type"] == "file" and not (
                part["file"].get("filename")
                and re.match("data:[^;]+;base64,.", part["file"].get("file_data", ""))
            ):
                found.append(f"{where}: a file without name or data")
            if problem := _chat_media_problem(role, part):
                found.append(f"{where}: {problem}")
        if "thinking_blocks" in message:
            found.append(f"{where}: thinking blocks")
        for call in calls:
            found += _call(where, call["id"], call["function"]["arguments"], used, own, 40)
            open_ids.append(call["id"])
    if open_ids:
        found.append(f"the end: calls without results {open_ids}")
    return found


def _chat_media_problem(role: str, part: dict[str, Any]) -> str:
    """Return what is wrong with audio or video (openai-python, OpenRouter); "": nothing."""
    if part["type"] not in ("input_audio", "video_url"):
        return ""
    if role != "user":
        return "audio or video that is not the user's"
    if part["type"] == "video_url":
        url = part["video_url"]["url"]
        return "" if re.match(r"https?://|data:video/\w+;base64,.", url) else "a video without data"
    audio = part["input_audio"]
    if isinstance(audio, dict) and audio["format"] not in ("wav", "mp3", "flac"):
        return f"audio of the unknown format {audio['format']}"
    data = audio if isinstance(audio, str) else audio["data"]
    base64.b64decode(data.rpartition(",")[2], validate=True)
    return "" if data else "audio without data"


def _call(
    where: str, identity: str, arguments: Any, used: set[str], own: set[str], longest: int
) -> list[str]:
    found = []
    if identity not in own and not (ID.fullmatch(identity) and len(identity) <= longest):
        found.append(f"{where}: illegal id {identity!r}")
    if identity in used:
        found.append(f"{where}: id used twice {identity!r}")
    used.add(identity)
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, dict):
        found.append(f"{where}: arguments are no object")
    return found


def _anthropic(body: dict[str, Any], own: set[str]) -> list[str]:
    found: list[str] = []
    if not body.get("max_tokens"):
        found.append("no max_tokens")
    if body["messages"][0]["role"] != "user":
        found.append("the first message is not the user's")
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        if not 1024 <= thinking["budget_tokens"] < body["max_tokens"]:
            found.append("a budget outside 1024 … max_tokens")
        if body.get("temperature", 1) != 1:
            found.append("a temperature with thinking")
        if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            found.append("a forced call with thinking")
    if json.dumps(body).count('"cache_control"') > 4:
        found.append("more than four marks")
    used: set[str] = set()
    open_ids: list[str] = []
    waiting: list[str] = []
    before = None
    for number, message in enumerate(body["messages"]):
        role, content = message["role"], message["content"]
        where = f"message {number} ({role})"
        if role == before:
            found.append(f"{where}: the same role twice")
        before = role
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks:
            found.append(f"{where}: empty")
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        if sorted(results) != sorted(open_ids):
            found.append(f"{where}: results {results} for calls {open_ids}")
        if results and blocks[0]["type"] != "tool_result":
            found.append(f"{where}: results do not come first")
        open_ids = []
        if role == "assistant":
            found += _anthropic_server_tools(where, blocks, waiting)
            if not any(block["type"] == "tool_use" for block in blocks):
                if waiting and number < len(body["messages"]) - 1:
                    found.append(f"{where}: {waiting} without corresponding results")
                waiting = []
        elif any(block["type"] != "tool_result" for block in blocks):
            waiting = []
        for block in blocks:
            if block["type"] == "text" and not block["text"].strip():
                found.append(f"{where}: empty text")
            elif block["type"] in ("audio", "video"):
                found.append(f"{where}: a block of the unknown type {block['type']}")
            elif block["type"] == "thinking" and block.get("signature") not in own:
                found.append(f"{where}: foreign signature {block.get('signature')!r}")
            elif block["type"] == "redacted_thinking" and block["data"] not in own:
                found.append(f"{where}: foreign redacted thinking")
            elif block["type"] == "tool_use":
                found += _call(where, block["id"], block["input"], used, own, 64)
                open_ids.append(block["id"])
    if open_ids:
        found.append(f"the end: calls without results {open_ids}")
    return found


def _anthropic_server_tools(
    where: str, blocks: list[dict[str, Any]], waiting: list[str]
) -> list[str]:
    """Calls of Anthropic's own tools have their results in the same turn, behind them.

    While the client runs tools that the code calls, `waiting` calls have no result.
    """
    found: list[str] = []
    calls = [block["id"] for block in blocks if block["type"] == "server_tool_use"]
    for block in blocks:
        kind = block["type"]
        if kind in ("server_tool_use", "mcp_tool_use"):
            if not isinstance(block["input"], dict):
                found.append(f"{where}: input {block['input']!r}")
            waiting.append(block["id"])
        elif kind.endswith("_tool_result"):
            if block["tool_use_id"] not in waiting:
                found.append(f"{where}: unexpected tool_use_id {block['tool_use_id']}")
            else:
                waiting.remove(block["tool_use_id"])
        elif kind == "tool_use":
            source = block.get("caller", {}).get("tool_id")
            if source is not None and source not in waiting + calls:
                found.append(f"{where}: source tool {source} not found")
    return found


def part_of(part: dict[str, Any], kind: str) -> Any:
    """Return a part's `functionCall` or `functionResponse`; LiteLLM uses snake_case."""
    return part.get(kind) or part.get(re.sub("[A-Z]", lambda c: "_" + c[0].lower(), kind))


def _gemini(body: dict[str, Any], own: set[str]) -> list[str]:
    found: list[str] = []
    open_names: list[str] = []
    for number, message in enumerate(body["contents"]):
        where = f"content {number} ({message['role']})"
        if not message["parts"]:
            found.append(f"{where}: empty")
        # Without ids, their order tells which response belongs to which call.
        answers = [part_of(part, "functionResponse") for part in message["parts"]]
        names = [answer["name"] for answer in answers if answer]
        if names != open_names:
            found.append(f"{where}: responses {names} to calls {open_names}")
        open_names = []
        for part in message["parts"]:
            signature = part.get("thoughtSignature")
            if signature is not None and signature not in own:
                found.append(f"{where}: foreign signature {signature!r}")
            if "text" in part and not part["text"].strip() and signature is None:
                found.append(f"{where}: empty text")
            if call := part_of(part, "functionCall"):
                open_names.append(call["name"])
                if not isinstance(call["args"], dict):
                    found.append(f"{where}: arguments are no object")
            data = part_of(part, "inlineData") or part_of(part, "fileData")
            if data and not re.match(r"(image|audio|video|application|text)/", data["mimeType"]):
                found.append(f"{where}: a file of the unknown type {data['mimeType']!r}")
            inside = (part_of(part, "functionResponse") or {}).get("parts") or ()
            types = [file["inlineData"]["mimeType"] for file in inside if "inlineData" in file]
            if any(name.startswith(("audio/", "video/")) for name in types):
                found.append(f"{where}: audio or video inside a response")
    if open_names:
        found.append("the end: calls without responses")
    return found


# Items of OpenAI's own tools that may be sent back, with the fields that they must have
# (`ResponseInputItemParam` in openai-python).
_HOSTED_ITEMS = {
    "web_search_call": {"id", "action", "status"},
    "file_search_call": {"id", "queries", "status"},
    "code_interpreter_call": {"id", "code", "container_id", "outputs", "status"},
    "mcp_list_tools": {"id", "server_label", "tools"},
    "mcp_call": {"id", "server_label", "name", "arguments"},
    "custom_tool_call": {"call_id", "name", "input"},  # of xAI's searches in X
}
_INCLUDE = {
    "code_interpreter_call.outputs", "file_search_call.results", "reasoning.encrypted_content",
    "web_search_call.action.sources",
}  # fmt: skip


def _responses_items(items: list[dict[str, Any]], own: set[str]) -> list[str]:
    """Return what is wrong with the items of reasoning, of OpenAI's tools, and with images."""
    found: list[str] = []
    for number, item in enumerate(items):
        kind = item.get("type") or "message"
        where = f"item {number} ({kind})"
        if kind == "image_generation_call":
            found.append(f"{where}: not found, items are not persisted when store is false")
        elif kind in _HOSTED_ITEMS:
            if missing := sorted(_HOSTED_ITEMS[kind] - item.keys()):
                found.append(f"{where}: without {missing}")
            if item["id"] not in own:
                found.append(f"{where}: foreign id {item['id']!r}")
        elif kind == "reasoning":
            following = items[number + 1] if number + 1 < len(items) else {}
            if following.get("role", "assistant") != "assistant" or not following:
                found.append(f"{where}: provided without its required following item")
        elif kind not in ("message", "function_call", "function_call_output"):
            found.append(f"{where}: unknown")
        for part in item["content"] if isinstance(item.get("content"), list) else ():
            if part["type"] in ("input_audio", "input_video"):
                found.append(f"{where}: a part of the unknown type {part['type']}")
            if part["type"] == "input_image" and part["image_url"].startswith("data:"):
                base64.b64decode(part["image_url"].partition(",")[2], validate=True)
    return found


def _responses(body: dict[str, Any], own: set[str]) -> list[str]:
    found = _responses_items(body["input"], own)
    found += [f"include {name}" for name in sorted(set(body.get("include") or ()) - _INCLUDE)]
    for tool in body.get("tools") or ():
        if tool["type"] == "mcp" and not re.fullmatch(
            "[A-Za-z][A-Za-z0-9_-]*", tool["server_label"]
        ):
            found.append(f"the server label {tool['server_label']!r}")
    open_ids: list[str] = []
    used: set[str] = set()
    for number, item in enumerate(body["input"]):
        kind = item.get("type") or "message"
        where = f"item {number} ({kind})"
        if kind == "function_call":
            found += _call(where, item["call_id"], item["arguments"], used, own, 64)
            open_ids.append(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in open_ids:
                found.append(f"{where}: an output without its call")
            else:
                open_ids.remove(item["call_id"])
            if not item["output"]:
                found.append(f"{where}: empty")
        elif kind == "reasoning":
            if item.get("encrypted_content") not in own:
                found.append(f"{where}: foreign reasoning")
        elif kind not in _HOSTED_ITEMS:
            if open_ids:
                found.append(f"{where}: calls without outputs {open_ids}")
                open_ids = []
            if not item["content"]:
                found.append(f"{where}: empty")
    if open_ids:
        found.append(f"the end: calls without outputs {open_ids}")
    return found


def _ollama(body: dict[str, Any], own: set[str]) -> list[str]:
    found = [
        f"the unknown field {name}"
        for name in sorted(body.keys() - {
            "model", "messages", "stream", "tools", "format", "think", "truncate", "shift",
            "options", "keep_alive",
        })
    ]  # fmt: skip
    if body.get("think") not in (None, True, False, "low", "medium", "high", "max"):
        found.append(f"think {body['think']!r}")
    if not isinstance(body.get("format", {}), dict) and body["format"] != "json":
        found.append("a format that is no schema")
    options = {
        "num_ctx", "num_predict", "num_gpu", "num_thread", "seed", "temperature", "stop",
        "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty",
    }  # fmt: skip
    found += [f"the unknown option {name}" for name in (body.get("options") or {}).keys() - options]
    open_calls: dict[str, str] = {}
    used: set[str] = set()
    for number, message in enumerate(body["messages"]):
        role, content = message["role"], message.get("content")
        where = f"message {number} ({role})"
        if not isinstance(content, str):
            found.append(f"{where}: content is no text")
        if role == "tool":
            identity = message.get("tool_call_id") or ""
            if identity not in open_calls:  # the order tells for calls without ids
                identity = next((name for name in open_calls if name.startswith("no id ")), "")
            name = open_calls.pop(identity, None)
            if name is None or message.get("tool_name", name) != name:
                found.append(f"{where}: a result without its call")
            continue
        if open_calls:
            found.append(f"{where}: calls without results {list(open_calls)}")
            open_calls = {}
        for image in message.get("images") or ():
            base64.b64decode(image, validate=True)
        calls = message.get("tool_calls") or []
        if not content and not calls and not message.get("images"):
            found.append(f"{where}: empty")
        for call in calls:
            function = call["function"]
            if not isinstance(function["arguments"], dict):
                found.append(f"{where}: arguments are no object")
            identity = call.get("id") or f"no id {len(open_calls)}"  # LiteLLM sends none
            if "id" in call:
                found += _call(where, identity, function["arguments"], used, own, 64)
            open_calls[identity] = function["name"]
    if open_calls:
        found.append(f"the end: calls without results {list(open_calls)}")
    return found


_COHERE_FIELDS = {
    "citation_options", "documents", "frequency_penalty", "k", "logprobs", "max_tokens", "messages",
    "model", "p", "presence_penalty", "priority", "response_format", "safety_mode", "seed",
    "stop_sequences", "stream", "strict_tools", "temperature", "thinking", "tool_choice", "tools",
}  # fmt: skip


def _cohere(body: dict[str, Any], own: set[str]) -> list[str]:
    found = [f"unknown field {name}" for name in body.keys() - _COHERE_FIELDS]
    thinking = body.get("thinking") or {"type": "enabled"}
    if thinking["type"] not in ("enabled", "disabled") or thinking.get("token_budget", 1) < 1:
        found.append(f"thinking {thinking}")
    if body.get("tool_choice", "NONE") not in ("REQUIRED", "NONE"):
        found.append(f"tool_choice {body['tool_choice']}")
    if "tool_choice" in body and not body.get("tools"):
        found.append("a tool_choice without tools")
    if not 0 <= body.get("temperature", 0) <= 1:
        found.append("a temperature above 1")
    if len(body.get("stop_sequences", ())) > 5:
        found.append("more than five stop sequences")
    if (form := body.get("response_format")) is not None:
        if form["type"] != "json_object":
            found.append(f"the format {form['type']}")
        if body.get("tools") or body.get("documents"):
            found.append("a format together with tools or documents")
        found += cohere_refuses(form["json_schema"]) if "json_schema" in form else []
    if body["messages"][-1]["role"] not in ("user", "tool"):
        found.append("the last message is not the user's")
    return found + _cohere_messages(body, own, thinking["type"] == "enabled")


def _cohere_messages(body: dict[str, Any], own: set[str], thinks: bool) -> list[str]:
    found: list[str] = []
    open_ids: list[str] = []
    used: set[str] = set()
    for number, message in enumerate(body["messages"]):
        role, content, calls = message["role"], message.get("content"), message.get("tool_calls")
        where = f"message {number} ({role})"
        if open_ids and role != "tool":
            found.append(f"{where}: calls without results {open_ids}")
            open_ids = []
        if role == "tool":
            if message["tool_call_id"] not in open_ids:
                found.append(f"{where}: a result without its call")
            else:
                open_ids.remove(message["tool_call_id"])
        if not content and not calls:
            found.append(f"{where}: empty")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        known = {"assistant": {"text", "thinking"}, "user": {"text", "image_url"}}
        for part in parts:
            if part["type"] not in known.get(role, {"text", "document"}):
                found.append(f"{where}: a part {part['type']}")
            if not part[part["type"]]:
                found.append(f"{where}: empty {part['type']}")
            if part["type"] == "thinking" and not thinks:
                found.append(f"{where}: thinking content, but thinking is disabled")
            if part["type"] == "text" and calls:
                found.append(f"{where}: text content beside tool_calls")  # vercel/ai#5794
        for call in calls or ():
            found += _call(where, call["id"], call["function"]["arguments"], used, own, 40)
            open_ids.append(call["id"])
    if open_ids:
        found.append(f"the end: calls without results {open_ids}")
    return found
