"""What hosts reject, one function per rule, and a server that rejects it.

A rule says for which models of which hosts it holds, and where it was seen. It returns whether it
is broken. The rules know nothing of `pipy_ai`: they are written from the vendors' documentation and
from reports of rejected requests. `vendor_rules` has what an API rejects whoever hosts it.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .vendor_rules import part_of, violations

Body = dict[str, Any]
Check = Callable[[Body], bool]


@dataclass
class Rule:
    """A rule of the hosts and models whose `host/model` matches `pattern`."""

    pattern: re.Pattern[str]
    source: str
    check: Check

    @property
    def text(self) -> str:
        return f"{self.check.__name__.strip('_').replace('_', ' ')} ({self.source})"


RULES: list[Rule] = []


def rule(pattern: str, source: str) -> Callable[[Check], Check]:
    """Add a rule for each `host/model` that `pattern` matches, ignoring case."""

    def add(check: Check) -> Check:
        RULES.append(Rule(re.compile(pattern, re.IGNORECASE), source, check))
        return check

    return add


def broken_rules(host: str, path: str, body: Body, own: set[str]) -> list[str]:
    """Return everything that `host` would reject in a request."""
    model = body.get("model") or re.sub(r".*/models/(.*):.*", r"\1", path)
    rules = [rule for rule in RULES if rule.pattern.search(f"{host}/{model}")]
    broken = [rule.text for rule in rules if rule.check(body)]
    if "claude" not in model:  # hosts of other models want the field, whatever it holds
        own = own | {""}
    broken += violations(path, body, own)
    if host == "openrouter":  # it passes the marks on to Claude
        broken = [text for text in broken if "a mark that only Anthropic knows" not in text]
    return broken


# === What the rules ask of a request ========================================================


def _is_forced(body: Body) -> bool:
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return kind not in (None, "auto", "none")


def _thinking(body: Body) -> str:
    """Return the type of `thinking`; empty: the field is not set."""
    return str((body.get("thinking") or {}).get("type") or "")


def _has_schema(body: Body) -> bool:
    return (body.get("response_format") or {}).get("type") in ("json_schema", "json_object")


def _roles(body: Body) -> list[str]:
    return [message["role"] for message in body["messages"] if message["role"] != "system"]


def _calls_without(body: Body, *fields: str, blank: bool = True) -> bool:
    """Return whether a turn with tool calls lacks all of `fields`."""
    for message in body["messages"]:
        values = [message[name] for name in fields if isinstance(message.get(name), str)]
        if message.get("tool_calls") and not any(blank or value for value in values):
            return True
    return False


def _alternates(roles: list[str]) -> bool:
    return all(first != second for first, second in pairwise(roles))


def _sampling(body: Body, *names: str) -> bool:
    return any(body.get(name) not in (None, 1, 1.0) for name in names)


# === OpenAI =================================================================================

# The reasoning models; the chat models among them are others.
_OPENAI = r"/(openai/)?(o[134](-mini|-pro)?|gpt-5(\.\d+)?(-mini|-nano|-pro|-codex)?)$"


@rule(_OPENAI, "huggingface/smolagents#1671")
def _stop_for_a_reasoning_model(body: Body) -> bool:
    return body.get("stop") is not None


@rule(_OPENAI, "Unsupported value: 'temperature' does not support 0.3 with this model")
def _sampling_for_a_reasoning_model(body: Body) -> bool:
    return _sampling(body, "temperature", "top_p") or "top_k" in body


@rule(r"openai" + _OPENAI, "Use 'max_completion_tokens' instead")
def _max_tokens_for_a_reasoning_model(body: Body) -> bool:
    return "max_tokens" in body


@rule(_OPENAI + r"|xai/grok-4", "Model does not support parameter presencePenalty")
def _penalty_for_a_reasoning_model(body: Body) -> bool:
    return "presence_penalty" in body or "frequency_penalty" in body


@rule(r"^(openai|groq)/", "stop: array too long, expected at most 4")
def _five_stops(body: Body) -> bool:
    return isinstance(body.get("stop"), list) and len(body["stop"]) > 4


@rule(r"openai/", "Unknown parameter")
def _field_of_another_host(body: Body) -> bool:
    fields = {"top_k", "chat_template_kwargs", "thinking", "enable_thinking", "reasoning_content"}
    return bool(fields & body.keys())


# === Anthropic ==============================================================================

_NO_SAMPLING = r"claude-(opus-4[.-][78]|(sonnet|opus|fable)-5)"
_NO_PREFILL = r"claude-([a-z]+-4[.-][678]|(sonnet|opus|fable)-5)"


@rule(r"claude-[a-z]+-(4[.-][1-9](?!\d)|5)", "open-webui/pipelines#546")
def _temperature_and_top_p(body: Body) -> bool:
    return "temperature" in body and "top_p" in body


@rule(_NO_SAMPLING, "anomalyco/models.dev#1468")
def _sampling_for_a_claude_without_it(body: Body) -> bool:
    return _sampling(body, "temperature", "top_p") or "top_k" in body


@rule(_NO_PREFILL, "vercel/ai#12296")
def _assistant_prefill(body: Body) -> bool:
    return body["messages"][-1]["role"] == "assistant"


@rule(r"claude", "platform.claude.com: extended thinking")
def _prefill_or_sampling_with_thinking(body: Body) -> bool:
    if _thinking(body) not in ("enabled", "adaptive"):
        return False
    is_low = body.get("top_p") is not None and body["top_p"] < 0.95
    has_sampling = _sampling(body, "temperature") or "top_k" in body or is_low
    return has_sampling or body["messages"][-1]["role"] == "assistant"


@rule(r"claude", "platform.claude.com: extended thinking with tool use")
def _forced_call_with_thinking(body: Body) -> bool:
    return _thinking(body) in ("enabled", "adaptive") and _is_forced(body)


@rule(r"claude-(sonnet|opus|fable)-5", "promptfoo/promptfoo#10631: thinks by default")
def _forced_call_while_thinking_by_default(body: Body) -> bool:
    return _thinking(body) != "disabled" and _is_forced(body)


@rule(r"claude-(fable|mythos)", "ex-machina-co/opencode-anthropic-auth#159")
def _thinking_disabled_where_it_is_always_on(body: Body) -> bool:
    return _thinking(body) == "disabled"


@rule(_NO_SAMPLING, "AAClause/nvda-OpenAI#126")
def _budget_for_adaptive_thinking(body: Body) -> bool:
    return _thinking(body) == "enabled"


@rule(r"^(anthropic|opencode)/claude", "vellum-ai/vellum-assistant#18387")
def _file_in_an_error_result(body: Body) -> bool:
    return any(
        block.get("is_error") and any(part["type"] != "text" for part in block["content"])
        for message in body["messages"]
        for block in message["content"]
        if isinstance(block, dict) and block["type"] == "tool_result"
    )


@rule(r"^(anthropic|opencode)/claude", "Extra inputs are not permitted")
def _field_that_anthropic_does_not_know(body: Body) -> bool:
    return bool({"presence_penalty", "frequency_penalty", "seed", "n", "logprobs"} & body.keys())


@rule(r"^(anthropic|opencode)/claude", "final assistant content cannot end with whitespace")
def _white_space_at_the_end(body: Body) -> bool:
    last = body["messages"][-1]
    text = last["content"][-1].get("text") or ""
    return last["role"] == "assistant" and text != text.rstrip()


@rule(r"claude", "stop_sequences: each stop sequence must contain non-whitespace")
def _blank_stop(body: Body) -> bool:
    return any(not text.strip() for text in body.get("stop_sequences") or ())


@rule(r"claude|^zai|^moonshotai", "temperature: range: 0..1")
def _temperature_above_1(body: Body) -> bool:
    return (body.get("temperature") or 0) > 1


# === Google =================================================================================


def _tool_kinds(body: Body) -> set[str]:
    names = {name for tool in body.get("tools") or () for name in tool}
    functions = names & {"functionDeclarations", "function_declarations"}
    return ({"function"} if functions else set()) | ({"provider"} if names - functions else set())


@rule(r"^google/gemini-[3-9]", "cloudwego/eino-ext#761")
def _both_kinds_of_tools_without_the_flag(body: Body) -> bool:
    config = body.get("toolConfig") or {}
    flag = config.get("includeServerSideToolInvocations")
    return len(_tool_kinds(body)) == 2 and not flag


@rule(r"^google/gemini-[12]", "Tool use with function calling is unsupported")
def _both_kinds_of_tools(body: Body) -> bool:
    return len(_tool_kinds(body)) == 2


@rule(r"^google/gemini-[12]", "googleapis/js-genai#727, googleapis/python-genai#706")
def _schema_with_tools_or_after_calls(body: Body) -> bool:
    has_calls = any(part_of(p, "functionCall") for c in body["contents"] for p in c["parts"])
    mime_type = (body.get("generationConfig") or {}).get("responseMimeType")
    return bool(mime_type) and (bool(body.get("tools")) or has_calls)


@rule(r"^google/", "vercel/ai#16540")
def _schema_with_a_forced_call(body: Body) -> bool:
    config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mime_type = (body.get("generationConfig") or {}).get("responseMimeType")
    return bool(mime_type) and config.get("mode") == "ANY"


@rule(r"^google/", "ensure that the first turn is from the user")
def _first_turn_of_the_model(body: Body) -> bool:
    return bool(body["contents"][0]["role"] != "user")


@rule(r"^google/gemini-[3-9]", "ai.google.dev: thought signatures")
def _first_call_without_signature(body: Body) -> bool:
    for content in body["contents"]:
        calls = [part for part in content["parts"] if part_of(part, "functionCall")]
        if calls and not calls[0].get("thoughtSignature"):
            return True
    return False


# === OpenAI-compatible hosts ================================================================


_OPENAI_TOOL_OPTIONS = {
    "search_context_size", "user_location", "container", "require_approval", "blocked_domains",
}  # fmt: skip


@rule(r"^xai/", "docs.x.ai: tools of the Responses API")
def _tool_option_of_openai_at_xai(body: Body) -> bool:
    tools = [tool | tool.get("filters", {}) for tool in body.get("tools") or () if "type" in tool]
    return any(
        _OPENAI_TOOL_OPTIONS & tool.keys() or tool["type"] == "image_generation" for tool in tools
    )


@rule(r"xai/grok-[4-9]", "maximhq/bifrost#1286")
def _stop_for_grok(body: Body) -> bool:
    return body.get("stop") is not None


@rule(r"^moonshotai(-cn)?/kimi-k2\.[5-9]", "QuantumNous/new-api#5372")
def _temperature_for_kimi(body: Body) -> bool:
    return "temperature" in body or "top_p" in body


@rule(r"^moonshotai(-cn)?/", "tool_choice 'required' is not supported")
def _required_call_at_moonshot(body: Body) -> bool:
    return body.get("tool_choice") == "required"


@rule(r"/(moonshotai/)?kimi-k2(\.[5-9]|-thinking)", "can1357/oh-my-pi#1077")
def _forced_call_while_kimi_thinks(body: Body) -> bool:
    return _is_forced(body) and _thinking(body) != "disabled"


@rule(r"^(moonshotai(-cn)?|opencode)/kimi-k2(\.[5-9]|-thinking)", "inspect_ai#5152")
def _kimi_turn_without_its_thinking(body: Body) -> bool:
    return _calls_without(body, "reasoning_content", blank=False)


@rule(r"/deepseek-(v4|reasoner)", "BerriAI/litellm#37470")
def _forced_call_while_deepseek_thinks(body: Body) -> bool:
    return _is_forced(body) and _thinking(body) != "disabled"


@rule(r"^(deepseek|opencode|llmgateway)/deepseek-(v4|reasoner)", "earendil-works/pi#3636")
def _deepseek_turn_without_its_thinking(body: Body) -> bool:
    return _thinking(body) != "disabled" and _calls_without(body, "reasoning_content")


@rule(r"^xiaomi/mimo", "earendil-works/pi#4602")
def _mimo_turn_without_its_thinking(body: Body) -> bool:
    return _calls_without(body, "reasoning_content")


@rule(r"^zai(-coding-plan)?/|^zhipuai/", "vectorize-io/hindsight#4246")
def _any_choice_but_auto(body: Body) -> bool:
    return body.get("tool_choice") not in (None, "auto", "none")


@rule(r"^alibaba(-cn)?/(?!qwen-(plus|flash|turbo))", "cloudwego/eino#994")
def _forced_call_while_qwen_thinks(body: Body) -> bool:
    return _is_forced(body) and body.get("enable_thinking") is not False


@rule(r"^alibaba(-cn)?/(?!qwen-(plus|flash|turbo))", "presenton/presenton#184")
def _schema_while_qwen_thinks(body: Body) -> bool:
    return _has_schema(body) and body.get("enable_thinking") is not False


@rule(r"deepseek-reasoner", "does not support successive user or assistant messages")
def _roles_that_deepseek_rejects(body: Body) -> bool:
    roles = [message["role"] for message in body["messages"] if not message.get("tool_calls")]
    plain = [role for role in roles if role not in ("system", "tool")]
    return not _alternates(plain) or roles[-1] == "assistant"


@rule(r"^groq/", "vercel/ai#10023")
def _schema_with_tools_at_groq(body: Body) -> bool:
    return _has_schema(body) and bool(body.get("tools"))


@rule(r"^(mistral|fireworks-ai)/", "WorkflowAI/WorkflowAI#687")
def _schema_with_tools(body: Body) -> bool:
    return _has_schema(body) and bool(body.get("tools"))


@rule(r"^(groq|mistral|cerebras|xai)/", "property 'reasoning_content' is unsupported")
def _thinking_in_a_field_of_others(body: Body) -> bool:
    return any(
        {"reasoning_content", "reasoning", "reasoning_details"} & message.keys()
        for message in body.get("messages") or ()
    )


@rule(r"^mistral/", "Unexpected role 'user' after role 'tool'")
def _user_after_a_tool_result(body: Body) -> bool:
    roles = _roles(body)
    return ("tool", "user") in pairwise(roles)


@rule(r"^mistral/", "Expected last role User or Tool (or Assistant with prefix True)")
def _final_assistant_message_without_prefix(body: Body) -> bool:
    last = body["messages"][-1]
    return last["role"] == "assistant" and not last.get("prefix")


@rule(r"^mistral/", "BerriAI/litellm#13416: tool call ids have nine letters or digits")
def _id_that_mistral_did_not_make(body: Body) -> bool:
    ids = [call["id"] for m in body["messages"] for call in m.get("tool_calls") or ()]
    return any(not re.fullmatch("[A-Za-z0-9]{9}|call_(own|two)", call_id) for call_id in ids)


@rule(r"^perplexity/", "anomalyco/opencode#9416")
def _roles_that_do_not_alternate(body: Body) -> bool:
    roles = _roles(body)
    turns = [
        role for number, role in enumerate(roles) if role != "tool" or roles[number - 1] != role
    ]
    return not _alternates(turns) or roles[0] != "user" or roles[-1] == "assistant"


@rule(r"^hosted_vllm/.*(gemma|mistral)", "Conversation roles must alternate user/assistant/…")
def _roles_that_a_template_rejects(body: Body) -> bool:
    turns = [m for m in body["messages"] if m["role"] != "tool" and not m.get("tool_calls")]
    roles = [turn["role"] for turn in turns if turn["role"] != "system"]
    return not _alternates(roles) or roles[0] != "user"


@rule(r"gemma-2|google/gemma-3", "System role not supported; Developer instruction is not enabled")
def _system_prompt_for_gemma(body: Body) -> bool:
    has_role = any(message["role"] == "system" for message in body.get("messages") or ())
    return has_role or bool(body.get("systemInstruction"))


# === What a level must not become ===========================================================


def inverted_reasoning(level: str, body: Body) -> bool:
    """Return whether a request turns thinking off although a level was requested."""
    if level == "off":
        return False
    config = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    reasoning = body.get("reasoning") or {}
    return (
        body.get("reasoning_effort") == "none"
        or reasoning.get("effort") == "none"
        or reasoning.get("enabled") is False
        or _thinking(body) == "disabled"
        or body.get("enable_thinking") is False
        or body.get("think") is False
        or config.get("thinkingBudget") == 0
    )


# === The server =============================================================================


class StrictHost:
    """Hosts on loopback, each at `url/host`: they answer "ok", or 400 with every broken rule."""

    def __init__(self, own: set[str]) -> None:
        """`own` has the ids and signatures that the hosts issued."""
        self.seen: list[Body] = []
        self.count = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet: else each waits for an acknowledgement

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                host, _, path = self.path.lstrip("/").partition("/")
                path = "/" + path.partition("?")[0]
                outer.seen = [body]
                outer.count += 1
                if broken := broken_rules(host, path, body, own):
                    self._send(400, "application/json", json.dumps({"error": "; ".join(broken)}))
                else:
                    self._send(200, "text/event-stream", _answer(path))

            def _send(self, status: int, content_type: str, text: str) -> None:
                data = text.encode()
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url: str = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(path: str) -> str:
    """Return the shortest complete response of an API."""
    if path.endswith("/api/chat"):
        return json.dumps({"message": {"content": "ok"}, "done": True}) + "\n"
    if path.endswith("/chat/completions"):
        choice = {"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}
        events: list[Any] = [{"id": "1", "model": "m", "choices": [choice]}, "[DONE]"]
    elif path.endswith("/messages"):
        events = [
            {"type": "message_start", "message": {"id": "1", "model": "m", "usage": {}}},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": "ok"},
            },
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}},
            {"type": "message_stop"},
        ]
    elif path.endswith("/responses"):
        content = [{"type": "output_text", "text": "ok"}]
        item = {"type": "message", "id": "msg_1", "role": "assistant", "content": content}
        response = {"id": "1", "model": "m", "status": "completed", "output": [item]}
        events = [
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": response},
        ]
    else:
        candidate = {"content": {"role": "model", "parts": [{"text": "ok"}]}}
        events = [{"candidates": [{**candidate, "finishReason": "STOP"}]}]
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    return "".join(f"data: {line}\n\n" for line in lines)
