"""Render abstract steps as the stream of each wire.

    steps = [think("hm", signature="s"), say("Hel", "lo"), tool("c1", "f", '{"x":', "1}")]
    lab.play(ANTHROPIC.scene(*steps, stop="tool"))

`WIRES` is what to parametrise over. A wire says which model reaches it and what it can carry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .event_stream import frame
from .scripted_server import DONE, Fault, Pause, Scene, call, chunk, sse


@dataclass
class Step:
    """One content block of a response, in pieces."""

    kind: str
    pieces: tuple[str, ...] = ()
    id: str = ""
    name: str = ""
    signature: str | None = None


def say(*pieces: str) -> Step:
    return Step("say", pieces)


def think(*pieces: str, signature: str | None = None) -> Step:
    return Step("think", pieces, signature=signature)


def redacted(data: str) -> Step:
    return Step("redacted", (data,))


def tool(id: str, name: str, *pieces: str, signature: str | None = None) -> Step:
    return Step("tool", pieces, id, name, signature)


@dataclass
class Counts:
    """Token counts; `input` excludes tokens read from or written to a cache."""

    input: int = 10
    output: int = 5
    cached: int = 0
    written: int = 0
    reasoning: int = 0


Steps = tuple["Step | Fault | Pause | bytes", ...]


@dataclass
class Wire:
    """A wire: the model that uses it, and its format."""

    name: str
    api: str
    model: str
    root: bool = False  # its base URL has no /v1
    ids: bool = True  # its responses name themselves and their model
    sse: bool = True  # its events are server-sent
    lines: bool = False  # its events are lines of JSON
    forces_calls: bool = True
    details: bool = True  # its usage has the tokens of caches and thinking
    signatures: bool = False
    redacts: bool = False
    writes_cache: bool = False
    fragments: bool = True  # arguments come in pieces
    names_model: bool = True  # responses name the model
    counts_thinking: bool = True  # responses report the tokens of thinking
    litellm: bool = True  # LiteLLM reads its streams
    stops: dict[str, str] = field(default_factory=dict)

    def base(self, lab: Any) -> str:
        return str(lab.url).removesuffix("/v1") if self.root else str(lab.url)

    def scene(
        self, *steps: Any, stop: str | None = "stop", counts: Counts | None = None,
        newline: str = "\n",
    ) -> Scene:  # fmt: skip
        """Return the whole response; with `stop=None` it has no end marker."""
        return sse(*self.events(steps, stop, counts or Counts()), newline=newline)

    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        raise NotImplementedError

    def error(self, message: str, kind: str) -> Any:
        """Return an error event of the stream."""
        return {"error": {"message": message, "type": kind, "code": kind}}


class Chat(Wire):
    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        index = -1
        for step in steps:
            if not isinstance(step, Step):
                yield step
            elif step.kind == "say":
                yield from (chunk({"content": piece}) for piece in step.pieces)
            elif step.kind == "think":
                yield from (chunk({"reasoning_content": piece}) for piece in step.pieces)
            elif step.kind == "tool":
                index += 1
                yield call(index, step.id, step.name, "")
                yield from (call(index, args=piece) for piece in step.pieces)
        if stop is None:
            return
        yield chunk({}, finish_reason=self.stops[stop])
        yield chunk(
            choices=[],
            usage={
                "prompt_tokens": counts.input + counts.cached,
                "completion_tokens": counts.output,
                "prompt_tokens_details": {"cached_tokens": counts.cached},
                "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
            },
        )
        yield DONE


class Anthropic(Wire):
    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        usage = {
            "input_tokens": counts.input,
            "cache_read_input_tokens": counts.cached,
            "cache_creation_input_tokens": counts.written,
            "cache_creation": {"ephemeral_1h_input_tokens": counts.written},
            "output_tokens": 1,
        }
        yield {
            "type": "message_start",
            "message": {"id": "msg_1", "model": "m", "role": "assistant", "content": [],
                        "usage": usage},
        }  # fmt: skip
        index = 0
        for step in steps:
            if not isinstance(step, Step):
                yield step
                continue
            kinds: dict[str, tuple[str, dict[str, Any], tuple[str, str]]] = {
                "say": ("text", {"text": ""}, ("text_delta", "text")),
                "think": ("thinking", {"thinking": "", "signature": ""},
                          ("thinking_delta", "thinking")),
                "tool": ("tool_use", {"id": step.id, "name": step.name, "input": {}},
                         ("input_json_delta", "partial_json")),
                "redacted": ("redacted_thinking", {"data": "".join(step.pieces)}, ("", "")),
            }  # fmt: skip
            kind, empty, delta = kinds[step.kind]
            block = {"type": kind, **empty}
            yield {"type": "content_block_start", "index": index, "content_block": block}
            yield {"type": "ping"}
            if step.kind != "redacted":
                for piece in step.pieces:
                    yield self._delta(index, {"type": delta[0], delta[1]: piece})
            if step.signature is not None and step.kind == "think":
                yield self._delta(index, {"type": "signature_delta", "signature": step.signature})
            yield {"type": "content_block_stop", "index": index}
            index += 1
        if stop is None:
            return
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": self.stops[stop], "stop_sequence": None},
            "usage": {"output_tokens": counts.output},
        }
        yield {"type": "message_stop"}

    def _delta(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": delta}

    def error(self, message: str, kind: str) -> Any:
        return {"type": "error", "error": {"type": kind, "message": message}}


class Gemini(Wire):
    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        for step in steps:
            if not isinstance(step, Step):
                yield step
            elif step.kind == "say":
                yield from (self._chunk({"text": piece}) for piece in step.pieces)
            elif step.kind == "think":
                for piece in step.pieces:
                    part: dict[str, Any] = {"text": piece, "thought": True}
                    if step.signature is not None and piece is step.pieces[-1]:
                        part["thoughtSignature"] = step.signature
                    yield self._chunk(part)
            elif step.kind == "tool":
                arguments = json.loads("".join(step.pieces) or "{}")
                part = {"functionCall": {"name": step.name, "args": arguments}}
                if step.signature is not None:
                    part["thoughtSignature"] = step.signature
                yield self._chunk(part)
        if stop is None:
            return
        last = self._chunk({"text": ""})
        last["candidates"][0]["finishReason"] = self.stops[stop]
        last["usageMetadata"] = {
            "promptTokenCount": counts.input + counts.cached,
            "cachedContentTokenCount": counts.cached,
            "candidatesTokenCount": counts.output - counts.reasoning,
            "thoughtsTokenCount": counts.reasoning,
        }
        yield last

    def _chunk(self, part: dict[str, Any]) -> dict[str, Any]:
        content = {"role": "model", "parts": [part]}
        candidates = [{"index": 0, "content": content}]
        return {"candidates": candidates, "responseId": "r1", "modelVersion": "m"}

    def error(self, message: str, kind: str) -> Any:
        return {"error": {"code": 503, "message": message, "status": kind}}


class Responses(Wire):
    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        yield {"type": "response.created", "response": {"id": "resp_1", "model": "m"}}
        index = 0
        for step in steps:
            if not isinstance(step, Step):
                yield step
                continue
            yield from self._item(index, step)
            index += 1
        if stop is None:
            return
        incomplete = None if stop in ("stop", "tool") else {"reason": self.stops[stop]}
        kind = "completed" if incomplete is None else "incomplete"
        usage = {
            "input_tokens": counts.input + counts.cached,
            "input_tokens_details": {"cached_tokens": counts.cached},
            "output_tokens": counts.output,
            "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        }
        yield {
            "type": f"response.{kind}",
            "response": {"id": "resp_1", "model": "m", "status": kind, "output": [],
                         "usage": usage, "incomplete_details": incomplete},
        }  # fmt: skip

    def _item(self, index: int, step: Step) -> Iterator[Any]:
        whole = "".join(step.pieces)
        item: dict[str, Any] = {"id": f"item_{index}"}
        if step.kind == "say":
            item |= {"type": "message", "content": [{"type": "output_text", "text": whole}]}
            kind = "response.output_text.delta"
        elif step.kind == "think":
            item |= {"type": "reasoning", "summary": [{"type": "summary_text", "text": whole}]}
            if step.signature is not None:
                item["encrypted_content"] = step.signature
            kind = "response.reasoning_summary_text.delta"
        else:
            item |= {"type": "function_call", "call_id": step.id, "name": step.name,
                     "arguments": whole}  # fmt: skip
            kind = "response.function_call_arguments.delta"
        where = {"output_index": index, "item_id": item["id"]}
        bare = {k: v for k, v in item.items() if k not in ("content", "summary")} | {
            "arguments": ""
        }
        yield {"type": "response.output_item.added", **where, "item": bare}
        yield from ({"type": kind, **where, "delta": piece} for piece in step.pieces)
        yield {"type": "response.output_item.done", **where, "item": item}

    def error(self, message: str, kind: str) -> Any:
        return {"type": "error", "code": kind, "message": message}


class Converse(Wire):
    """Amazon Bedrock's Converse API: binary frames."""

    def scene(
        self, *steps: Any, stop: str | None = "stop", counts: Counts | None = None,
        newline: str = "\n",
    ) -> Scene:  # fmt: skip
        events = self.events(steps, stop, counts or Counts())
        return [frame(*event) if isinstance(event, tuple) else event for event in events]

    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        yield "messageStart", {"p": "abcd", "role": "assistant"}
        index = 0
        for step in steps:
            if not isinstance(step, Step):
                yield step
                continue
            where = {"contentBlockIndex": index}
            if step.kind == "tool":
                start = {"toolUse": {"name": step.name, "toolUseId": step.id}}
                yield "contentBlockStart", {**where, "p": "abcdefgh", "start": start}
            for number, delta in enumerate(self._deltas(step)):
                yield "contentBlockDelta", {**where, "delta": delta, "p": "abcdefghi"[: 1 + number]}
            yield "contentBlockStop", {**where, "p": "abc"}
            index += 1
        if stop is None:
            return
        details = {"output_tokens_details": {"thinking_tokens": counts.reasoning}}
        fields = {"additionalModelResponseFields": {"usage": details}} if counts.reasoning else {}
        yield "messageStop", {**fields, "p": "abcdef", "stopReason": self.stops[stop]}
        usage: dict[str, Any] = {
            "cacheReadInputTokens": counts.cached,
            "cacheWriteInputTokens": counts.written,
            "inputTokens": counts.input,
            "outputTokens": counts.output,
            "serverToolUsage": {},
            "totalTokens": counts.input + counts.cached + counts.written + counts.output,
        }
        if counts.written:
            usage["cacheDetails"] = [{"inputTokens": counts.written, "ttl": "1h"}]
        yield "metadata", {"metrics": {"latencyMs": 5}, "p": "ab", "usage": usage}

    def _deltas(self, step: Step) -> Iterator[dict[str, Any]]:
        for piece in step.pieces:
            if step.kind == "say":
                yield {"text": piece}
            elif step.kind == "tool":
                yield {"toolUse": {"input": piece}}
            else:
                name = "redactedContent" if step.kind == "redacted" else "text"
                yield {"reasoningContent": {name: piece}}
        if step.signature is not None and step.kind == "think":
            yield {"reasoningContent": {"signature": step.signature}}

    def error(self, message: str, kind: str) -> Any:
        return frame(kind, {"message": message}, "exception")


class Ollama(Wire):
    def scene(
        self, *steps: Any, stop: str | None = "stop", counts: Counts | None = None,
        newline: str = "\n",
    ) -> Scene:  # fmt: skip
        return [
            step if isinstance(step, Fault | Pause | bytes) else json_line(step, newline)
            for step in self.events(steps, stop, counts or Counts())
        ]

    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        calls = 0
        for step in steps:
            if not isinstance(step, Step):
                yield step
            elif step.kind == "say":
                yield from (self._line(content=piece) for piece in step.pieces)
            elif step.kind == "think":
                yield from (self._line(content="", thinking=piece) for piece in step.pieces)
            elif step.kind == "tool":
                arguments = json.loads("".join(step.pieces) or "{}")
                function = {"index": calls, "name": step.name, "arguments": arguments}
                calls += 1
                call = {"id": step.id, "function": function}
                yield self._line(content="", tool_calls=[call])
        if stop is None:
            return
        last = self._line(content="") | {"done": True, "done_reason": self.stops[stop]}
        durations = {
            "total_duration": 4_883_583_458,
            "load_duration": 1_334_875,
            "prompt_eval_duration": 342_546_000,
            "eval_duration": 4_535_599_000,
        }
        yield last | durations | {"prompt_eval_count": counts.input, "eval_count": counts.output}

    def _line(self, **message: Any) -> dict[str, Any]:
        message = {"role": "assistant", **message}
        created = "2026-11-29T08:52:19.385406455Z"
        return {"model": "m", "created_at": created, "message": message, "done": False}

    def error(self, message: str, kind: str) -> Any:
        return {"error": message}


def json_line(value: Any, newline: str = "\n") -> bytes:
    """Return a line of JSON as Go writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"{text}{newline}".encode()


class Cohere(Wire):
    def scene(
        self, *steps: Any, stop: str | None = "stop", counts: Counts | None = None,
        newline: str = "\n",
    ) -> Scene:  # fmt: skip
        """Return the whole response; each event has its name, as Cohere sends it."""
        scene: list[Any] = []
        for event in self.events(steps, stop, counts or Counts()):
            [step] = sse(event, newline=newline)
            if isinstance(event, dict):
                step = f"event: {event['type']}{newline}".encode() + step
            scene.append(step)
        return scene

    def events(self, steps: Any, stop: str | None, counts: Counts) -> Iterator[Any]:
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [],
                   "citations": []}  # fmt: skip
        yield {"type": "message-start", "id": "c-1", "delta": {"message": message}}
        index, call_index = 0, 0
        for step in steps:
            if not isinstance(step, Step):
                yield step
            elif step.kind == "tool":
                yield from self._call(call_index, step)
                call_index += 1
            else:
                name = "text" if step.kind == "say" else "thinking"
                yield self._content("content-start", index, {"type": name, name: ""})
                for piece in step.pieces:
                    yield self._content("content-delta", index, {name: piece})
                yield {"type": "content-end", "index": index}
                index += 1
        if stop is None:
            return
        preamble = 496  # Cohere's own part of the prompt is counted and cached, but not billed
        billed = {"input_tokens": counts.input + counts.cached, "output_tokens": counts.output}
        usage = {
            "billed_units": billed,
            "tokens": {**billed, "input_tokens": billed["input_tokens"] + preamble},
            "cached_tokens": counts.cached + preamble if counts.cached else 0,
        }
        end = {"finish_reason": self.stops[stop], "usage": usage}
        yield {"type": "message-end", "id": "c-1", "delta": end}
        yield DONE

    def _call(self, index: int, step: Step) -> Iterator[Any]:
        start = {"id": step.id, "type": "function", "function": {"name": step.name,
                 "arguments": ""}}  # fmt: skip
        yield self._message("tool-call-start", index, {"tool_calls": start})
        for piece in step.pieces:
            call = {"function": {"arguments": piece}}
            yield self._message("tool-call-delta", index, {"tool_calls": call})
        yield {"type": "tool-call-end", "index": index}

    def _content(self, kind: str, index: int, content: dict[str, Any]) -> dict[str, Any]:
        return self._message(kind, index, {"content": content})

    def _message(self, kind: str, index: int, message: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "index": index, "delta": {"message": message}}

    def error(self, message: str, kind: str) -> Any:
        return {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": message}}


CHAT = Chat(
    "chat", "openai-completions", "hosted_vllm/m",
    stops={"stop": "stop", "length": "length", "tool": "tool_calls", "filter": "content_filter"},
)  # fmt: skip
ANTHROPIC = Anthropic(
    "anthropic", "anthropic-messages", "anthropic/claude-sonnet-4-5", root=True, signatures=True,
    redacts=True, writes_cache=True,
    stops={"stop": "end_turn", "length": "max_tokens", "tool": "tool_use", "filter": "refusal"},
)  # fmt: skip
GEMINI = Gemini(
    "gemini", "google-generative-ai", "gemini/gemini-2.5-flash", root=True, signatures=True,
    fragments=False,
    stops={"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP", "filter": "SAFETY"},
)  # fmt: skip
RESPONSES = Responses(
    "responses", "openai-responses", "openai/responses/gpt-5-mini", signatures=True,
    stops={"stop": "", "length": "max_output_tokens", "tool": "", "filter": "content_filter"},
)  # fmt: skip

CONVERSE = Converse(
    "converse", "bedrock-converse", "amazon-bedrock/amazon.nova-pro-v1:0", root=True,
    ids=False, sse=False, signatures=True, redacts=True, writes_cache=True,
    stops={"stop": "end_turn", "length": "max_tokens", "tool": "tool_use",
           "filter": "guardrail_intervened"},
)  # fmt: skip

OLLAMA = Ollama(
    "ollama", "ollama-chat", "ollama_chat/m", root=True, ids=False, sse=False, lines=True,
    fragments=False, forces_calls=False, details=False,
    stops={"stop": "stop", "length": "length", "tool": "stop", "filter": "refusal"},
)  # fmt: skip

COHERE = Cohere(
    "cohere", "cohere-chat", "cohere/command-a-reasoning-08-2025", root=True, names_model=False,
    counts_thinking=False, litellm=False,
    stops={"stop": "COMPLETE", "length": "MAX_TOKENS", "tool": "TOOL_CALL",
           "filter": "ERROR_TOXIC"},
)  # fmt: skip

WIRES = [CHAT, ANTHROPIC, GEMINI, RESPONSES, CONVERSE, OLLAMA, COHERE]
SSE_WIRES = [wire for wire in WIRES if wire.sse]
JSON_WIRES = [wire for wire in WIRES if wire.sse or wire.lines]

# How each API names a failure, and its kind.
ERRORS = {
    CHAT.name: ("overloaded_error", "overloaded"),
    ANTHROPIC.name: ("overloaded_error", "overloaded"),
    GEMINI.name: ("UNAVAILABLE", "overloaded"),
    RESPONSES.name: ("server_error", "server"),
    COHERE.name: ("ERROR", "server"),
    CONVERSE.name: ("serviceUnavailableException", "overloaded"),
    OLLAMA.name: ("", "server"),
}
