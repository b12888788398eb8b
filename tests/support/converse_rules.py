"""What Bedrock's Converse API rejects: by botocore's model of it, and by rules beyond that."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from .schema_rules import TOOL_RULES, check

BLANK = re.compile(r"\s*")


@cache
def _input_shape() -> Shape:
    model = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
    return model.operation_model("ConverseStream").input_shape


def refusals(path: str, body: dict[str, Any]) -> list[str]:
    """Return what Bedrock would reject in a request."""
    params = _with_bytes(json.loads(json.dumps(body)))
    report = ParamValidator().validate({"modelId": path.split("/")[2], **params}, _input_shape())
    found = [report.generate_report()] if report.has_errors() else []
    found += [f"unknown field {name}" for name in body.keys() - _input_shape().members.keys()]
    return found + list(_messages(path, body))


def _with_bytes(value: Any) -> Any:
    """Return a body with bytes where the API has base64, as botocore takes it."""
    if isinstance(value, list):
        return [_with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64decode(item)
        if name == "bytes" and isinstance(item, str)
        else item.encode()
        if name == "redactedContent"  # the tests' own is not base64
        else _with_bytes(item)
        for name, item in value.items()
    }


def _messages(path: str, body: dict[str, Any]) -> Iterator[str]:
    messages = body["messages"]
    roles = [message["role"] for message in messages]
    if not roles or roles[0] != "user":
        yield "the conversation does not start with a user message"
    if any(first == second for first, second in pairwise(roles)):
        yield "two messages of one role"
    blocks = [block for message in messages for block in message["content"]]
    tools = body.get("toolConfig", {}).get("tools")
    if not tools and any("toolUse" in block or "toolResult" in block for block in blocks):
        yield "calls without toolConfig"
    for tool in tools or ():
        if "toolSpec" in tool:
            yield from check(tool["toolSpec"]["inputSchema"]["json"], *TOOL_RULES)
    called: list[str] = []
    for message in messages:
        yield from _system_tools(message["content"], tools or ())
        content = [block for block in message["content"] if not _is_system_block(block)]
        results = [block["toolResult"]["toolUseId"] for block in content if "toolResult" in block]
        if sorted(results) != sorted(called):
            yield f"results {results} of calls {called}"
        called = [block["toolUse"]["toolUseId"] for block in content if "toolUse" in block]
        yield from _content(path, content)
    everything = [*(tools or ()), *body.get("system", ()), *blocks]
    if sum("cachePoint" in block for block in everything) > 4:
        yield "more than 4 cache points"
    names = [block["document"]["name"] for block in blocks if "document" in block]
    if len(set(names)) < len(names):
        yield "two documents of one name"


def _is_system_block(block: Any) -> bool:
    return any("type" in block.get(kind, {}) for kind in ("toolUse", "toolResult"))


def _system_tools(content: list[Any], tools: Any) -> Iterator[str]:
    """Calls of Bedrock's own tools have their results behind them, and their tool is declared."""
    declared = {tool["systemTool"]["name"] for tool in tools if "systemTool" in tool}
    waiting: list[str] = []
    for block in filter(_is_system_block, content):
        if call := block.get("toolUse"):
            waiting.append(call["toolUseId"])
            if call["type"] != "server_tool_use" or call["name"] not in declared:
                yield f"a call of the unknown system tool {call['name']}"
        elif (result := block["toolResult"])["toolUseId"] in waiting:
            waiting.remove(result["toolUseId"])
            if not result["content"]:
                yield "a result without content"
        else:
            yield "a result of a system tool without its call"
    if waiting:
        yield f"calls of system tools without results {waiting}"


# docs.aws.amazon.com/bedrock/latest/APIReference: AudioBlock, VideoBlock
_MEDIA_FORMATS = {
    "audio": {
        "aac", "flac", "m4a", "mka", "mkv", "mp3", "mp4", "mpeg", "mpga", "ogg", "opus", "pcm",
        "wav", "webm", "x-aac",
    },
    "video": {"flv", "mkv", "mov", "mp4", "mpeg", "mpg", "three_gp", "webm", "wmv"},
}  # fmt: skip


def _content(path: str, content: list[Any]) -> Iterator[str]:
    if not content or content[0].keys() == {"cachePoint"}:
        yield "an empty message"
    if any(BLANK.fullmatch(block["text"]) for block in content if "text" in block):
        yield "blank text"
    kinds = {next(iter(block)) for block in content} - {"cachePoint"}
    if "document" in kinds and "text" not in kinds:
        yield "a document without a text"
    for kind, formats in _MEDIA_FORMATS.items():
        used = {block[kind]["format"] for block in content if kind in block}
        if used - formats:
            yield f"{kind} of the format {sorted(used - formats)}"
    if "toolResult" in kinds:
        alone = ("llama", "mistral", "palmyra")
        rejected = {"document", "video"} if "claude" in path else set()
        rejected = kinds - {"toolResult"} if any(name in path for name in alone) else rejected
        if kinds & rejected:
            yield f"{sorted(kinds & rejected)} beside a tool result"
    for block, following in pairwise(content):
        is_pdf = block.get("document", {}).get("format") == "pdf" and "claude" in path
        if block.keys() & {"document", "video"} and "cachePoint" in following and not is_pdf:
            yield "a cache point after a document or a video"
