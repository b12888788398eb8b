"""Test that hosts and model families get the requests that `profiles` describes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    ctx,
    preview,
)
from pipy_ai.errors import ErrorInfo, ErrorKind
from pipy_ai.provider.profiles import FAMILIES, PROFILES, Profile, family_for, profile_for

LOOKUP = Tool(name="lookup", description="Look something up.")
SEARCH = Tool(name="search", description="Search for something.")
QUESTION = UserMessage(content="Who won?")


class Invoice(BaseModel):
    number: str


def codes(shown: Any) -> list[str]:
    return [warning.code for warning in shown.warnings]


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("model", ["lm_studio/qwen3-4b", "lmstudio/qwen/qwen3-30b-a3b-2507"])
@pytest.mark.parametrize("tools", [[LOOKUP], [LOOKUP, SEARCH]])
def test_lm_studio_gets_required_for_a_named_tool(july: Any, model: str, tools: list[Tool]) -> None:
    shown = preview(model, ctx("q", tools=tools), tool_choice="lookup")
    assert shown.body["tool_choice"] == "required"
    assert ("tool_choice_changed" in codes(shown)) == (len(tools) > 1)


# === Options ================================================================================


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("openai/o3", False), ("openai/gpt-5.4", False), ("openai/gpt-5.1-chat-latest", False),
        ("requesty/openai/o4-mini", False),
        ("openrouter/openai/gpt-5-mini", False), ("xai/grok-4.3", False),
        ("openai/gpt-4o", True), ("openai/gpt-5-chat-latest", True),
        ("groq/openai/gpt-oss-120b", True),
    ],
)  # fmt: skip
def test_stop_is_omitted_where_rejected(july: Any, transport: str, model: str, sent: bool) -> None:
    shown = preview(model, "q", stop="END", api_key="k", transport=transport)  # type: ignore[arg-type]
    assert ("stop" in shown.body) is sent
    # The Responses API has no such option at all.
    assert bool({"stop_ignored", "option_ignored"} & set(codes(shown))) is not sent


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("anthropic/claude-3-haiku-20240307", {"temperature", "top_p", "top_k"}),
        ("anthropic/claude-opus-4-20250514", {"temperature", "top_p", "top_k"}),
        ("anthropic/claude-opus-4-1", {"temperature", "top_k"}),
        ("anthropic/claude-haiku-4-5", {"temperature", "top_k"}),
        ("openrouter/anthropic/claude-sonnet-4.6", {"temperature", "top_k"}),
        ("anthropic/claude-opus-4-8", set()),
        ("anthropic/claude-sonnet-5", set()),
        ("vercel/anthropic/claude-opus-4.7", set()),  # the catalogue says that it takes them
    ],
)  # fmt: skip
def test_sampling_of_claude(july: Any, model: str, sent: set[str]) -> None:
    shown = preview(model, "q", temperature=0.3, top_p=0.9, top_k=5, api_key="k")
    assert {"temperature", "top_p", "top_k"} & shown.body.keys() == sent
    omitted = {"temperature", "top_p", "top_k"} - sent
    assert {f"{name}_ignored" for name in omitted} == set(codes(shown))


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("anthropic/claude-sonnet-4-5", 1), ("openrouter/anthropic/claude-sonnet-4.5", 1),
        ("mistral/mistral-large-latest", 1.5), ("zai/glm-4.7", 1),
        ("moonshotai/kimi-k2-0905-preview", 1), ("openai/gpt-4o", 1.8),
    ],
)  # fmt: skip
def test_temperature_stays_in_the_range_of_the_model(july: Any, model: str, sent: float) -> None:
    shown = preview(model, "q", temperature=1.8, api_key="k")
    assert shown.body["temperature"] == sent
    assert ("temperature_changed" in codes(shown)) is (sent != 1.8)


@pytest.mark.parametrize(
    ("model", "stops", "sent"),
    [
        ("anthropic/claude-sonnet-4-5", "\n", None),
        ("anthropic/claude-sonnet-4-5", ["\n\n", "END"], ["END"]),
        ("google/gemini-2.5-flash", list("abcdef"), list("abcde")),
        ("openai/gpt-4o", list("abcde"), list("abcd")), ("openai/gpt-4o", "\n", "\n"),
        ("hosted_vllm/own", list("abcdef"), list("abcdef")),
    ],
)  # fmt: skip
def test_stops_that_an_api_rejects(july: Any, model: str, stops: Any, sent: Any) -> None:
    shown = preview(model, "q", stop=stops, api_key="k")
    body = {**shown.body, **shown.body.get("generationConfig", {})}
    found = [body.get(name) for name in ("stop", "stop_sequences", "stopSequences")]
    assert [value for value in found if value] == ([sent] if sent else [])
    assert ("stop_ignored" in codes(shown)) is (sent != stops)


@pytest.mark.parametrize("model", ["openai/o3", "xai/grok-4.3", "requesty/openai/o4-mini"])
def test_penalties_in_extra_are_omitted_where_rejected(
    july: Any, transport: Any, model: str
) -> None:
    extra = {"presence_penalty": 0.5, "frequency_penalty": 0.5}
    shown = preview(model, "q", extra=extra, api_key="k", transport=transport)
    assert not extra.keys() & shown.body.keys()
    assert codes(shown).count("option_ignored") == 2


def test_blank_system_prompt_is_omitted(july: Any) -> None:
    assert "system" not in preview("anthropic/claude-sonnet-4-5", ctx("q", system=" \n")).body


def test_top_p_alone_is_sent_to_claude(july: Any) -> None:
    assert preview("anthropic/claude-sonnet-4-5", "q", top_p=0.9).body["top_p"] == 0.9


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("moonshotai/kimi-k2.5", False), ("moonshotai-cn/kimi-k2.6", False),
        ("kimi-for-coding/k2p5", False), ("moonshotai/kimi-k2-0905-preview", True),
        ("togetherai/moonshotai/Kimi-K2.6", True),
    ],
)  # fmt: skip
def test_kimi_has_fixed_sampling_at_moonshot(july: Any, model: str, takes: bool) -> None:
    shown = preview(model, "q", temperature=0.2, top_p=0.9, api_key="k")
    assert {"temperature", "top_p"} & shown.body.keys() == (
        {"temperature", "top_p"} if takes else set()
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-5", "max_completion_tokens"), ("openai/gpt-4o", "max_tokens"),
        ("requesty/openai/gpt-5.1", "max_completion_tokens"),
        ("openrouter/openai/gpt-5", "max_tokens"), ("groq/openai/gpt-oss-120b", "max_tokens"),
    ],
)  # fmt: skip
def test_name_of_the_token_limit(july: Any, model: str, name: str) -> None:
    body = preview(model, "q", max_tokens=100, api_key="k").body
    assert {"max_tokens", "max_completion_tokens"} & body.keys() == {name}


def test_fields_that_anthropic_rejects_stay_on_the_direct_transport(july: Any) -> None:
    extra = {"service_tier": "auto", "presence_penalty": 0.5, "n": 1}
    shown = preview("anthropic/claude-sonnet-4-5", "q", extra=extra)
    assert shown.body["service_tier"] == "auto"
    assert not {"presence_penalty", "n"} & shown.body.keys()
    assert codes(shown) == ["option_ignored", "option_ignored"]


# === Thinking ===============================================================================


@pytest.mark.parametrize("level", ["minimal", "low", "medium", "high", "xhigh", "max"])
@pytest.mark.parametrize(
    "model", ["cerebras/zai-glm-4.7", "groq/qwen/qwen3-32b", "mistral/mistral-small-latest"]
)
def test_a_level_never_becomes_none(july: Any, transport: str, model: str, level: Any) -> None:
    shown = preview(model, "q", reasoning=level, api_key="k", transport=transport)  # type: ignore[arg-type]
    assert shown.body.get("reasoning_effort") != "none"
    if level != "high":
        assert "reasoning_changed" in codes(shown)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("cerebras/zai-glm-4.7", {"reasoning_effort": "none"}),
        ("anthropic/claude-sonnet-5", {"thinking": {"type": "disabled"}}),
        ("anthropic/claude-opus-5-2", {"thinking": {"type": "disabled"}}),
        ("minimax/MiniMax-M3", {"thinking": {"type": "disabled"}}),
        ("moonshotai/kimi-k2.6", {"thinking": {"type": "disabled"}}),
        ("opencode/deepseek-v4-flash", {"thinking": {"type": "disabled"}}),
        ("alibaba/qwen3.5-plus", {"enable_thinking": False}),
        (
            "hosted_vllm/own",
            {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        ),
    ],
)  # fmt: skip
def test_off_turns_thinking_off(july: Any, model: str, fields: dict[str, Any]) -> None:
    shown = preview(model, "q", reasoning="off", api_key="k", api_base=None)
    assert {name: shown.body.get(name) for name in fields} == fields
    assert "reasoning_changed" not in codes(shown)


@pytest.mark.parametrize("model", ["anthropic/claude-fable-5", "minimax/MiniMax-M2"])
def test_thinking_that_cannot_be_turned_off_is_a_warning(july: Any, model: str) -> None:
    shown = preview(model, "q", reasoning="off", api_key="k")
    assert shown.body.get("thinking", {}).get("type") != "disabled"
    assert {"reasoning_changed", "reasoning_ignored"} & set(codes(shown))


# === Forced calls ===========================================================================


@pytest.mark.parametrize(
    ("model", "reasoning", "forced"),
    [
        ("zai/glm-4.7", None, False), ("zai/glm-4.7", "off", False),
        ("zai-coding-plan/glm-5.1", None, False),
        ("deepseek/deepseek-v4-pro", None, False), ("deepseek/deepseek-v4-pro", "off", True),
        ("deepseek/deepseek-reasoner", None, False), ("deepseek/deepseek-chat", None, True),
        ("opencode/deepseek-v4-flash", None, False), ("moonshotai/kimi-k2.6", "high", False),
        ("openrouter/moonshotai/kimi-k2.6", None, False),
        ("alibaba/qwen3.5-plus", None, False), ("alibaba/qwen3.5-plus", "off", True),
        ("alibaba/qwen-plus", None, True), ("alibaba/qwen-plus", "high", False),
        ("anthropic/claude-sonnet-5", None, False), ("anthropic/claude-sonnet-5", "off", True),
        ("anthropic/claude-sonnet-4-5", None, True), ("anthropic/claude-sonnet-4-5", "low", False),
        ("openrouter/anthropic/claude-opus-4.6", "high", False),
        ("hosted_vllm/deepseek-ai/DeepSeek-V4", None, True), ("minimax/MiniMax-M2", None, True),
        ("openai/gpt-5", "high", True),
        ("amazon-bedrock/meta.llama4-maverick-17b-instruct-v1:0", None, False),
        ("amazon-bedrock/amazon.nova-pro-v1:0", None, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("choice", ["required", "lookup"])
def test_forced_call(july: Any, model: str, reasoning: Any, forced: bool, choice: str) -> None:
    tools = ctx("q", tools=[LOOKUP, SEARCH])
    shown = preview(model, tools, tool_choice=choice, reasoning=reasoning, api_key="k")
    sent = shown.body.get("tool_choice") or shown.body["toolConfig"]["toolChoice"]
    assert (sent not in ("auto", {"type": "auto"}, {"auto": {}})) is forced
    assert ("tool_choice_changed" in codes(shown)) is not forced


def test_callers_own_field_for_thinking_counts(july: Any) -> None:
    shown = preview(
        "deepseek/deepseek-v4-pro", ctx("q", tools=[LOOKUP]), tool_choice="required",
        extra={"thinking": {"type": "disabled"}},
    )  # fmt: skip
    assert shown.body["tool_choice"] == "required"


@pytest.mark.parametrize(
    "model",
    ["zai/glm-4.7", "alibaba/qwen3.5-plus", "moonshotai/kimi-k2-thinking", "opencode/glm-5"],
)
def test_typed_answer_is_not_forced_where_that_is_rejected(july: Any, model: str) -> None:
    body = preview(model, "q", output=Invoice, api_key="k").body
    if model != "opencode/glm-5":
        assert body.get("tool_choice") in (None, "auto")
    assert "number" in str(body)


def test_schema_is_not_sent_while_qwen_thinks(july: Any) -> None:
    thinking = preview("alibaba/qwen3.5-27b", "q", output=Invoice, api_key="k").body
    assert "response_format" not in thinking
    off = preview("alibaba/qwen3.5-27b", "q", output=Invoice, reasoning="off", api_key="k").body
    assert off["response_format"]["type"] == "json_schema"


# === Conversations ==========================================================================


def own(model: str, *content: Any, **fields: Any) -> AssistantMessage:
    """An answer of a model."""
    provider, _, model_id = model.partition("/")
    return AssistantMessage(
        content=list(content), provider=provider, model=model_id, stop_reason="stop", **fields
    )


FAILED = AssistantMessage(
    stop_reason="error", error=ErrorInfo(kind=ErrorKind.SERVER, message="boom")
)
ANSWER = AssistantMessage(content=[TextContent(text="France.")], stop_reason="stop")


@pytest.mark.parametrize(
    "model",
    [
        "perplexity/sonar", "deepseek/deepseek-reasoner", "hosted_vllm/google/gemma-3-27b-it",
        "llamafile/gemma2",
        "lm_studio/mistralai/ministral-8b", "hosted_vllm/mistralai/Mixtral-8x7B-Instruct-v0.1",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("messages", "roles"),
    [
        ([QUESTION, FAILED, QUESTION], ["user"]),
        ([QUESTION, ANSWER, ANSWER, QUESTION], ["user", "assistant", "user"]),
        ([ANSWER, QUESTION], ["user", "assistant", "user"]),
        ([QUESTION, UserMessage(content=[TextContent(text="a"), TextContent(text="b")])], ["user"]),
    ],
)
def test_roles_alternate(
    july: Any, transport: str, model: str, messages: list[Any], roles: list[str]
) -> None:
    shown = preview(model, ctx(*messages), api_key="k", transport=transport)  # type: ignore[arg-type]
    assert [message["role"] for message in shown.body["messages"]] == roles
    assert str(shown.body).count("Who won?") == messages.count(QUESTION)


def test_other_hosts_get_users_in_a_row(july: Any) -> None:
    body = preview("openai/gpt-4o", ctx(QUESTION, FAILED, QUESTION)).body
    assert [message["role"] for message in body["messages"]] == ["user", "user"]


@pytest.mark.parametrize(
    "model", ["google/gemma-3-27b-it", "hosted_vllm/google/gemma-2-9b-it", "llamafile/gemma2"]
)
def test_system_prompt_of_old_gemma_is_the_users(july: Any, model: str) -> None:
    body = preview(model, ctx("Who won?", system="Be brief."), api_key="k").body
    assert "systemInstruction" not in body
    [message] = body.get("messages") or body["contents"]
    assert message["role"] == "user"
    assert "Be brief." in str(message)
    assert "Who won?" in str(message)


@pytest.mark.parametrize(
    "model", ["anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash", "perplexity/sonar"]
)
def test_first_message_is_the_users(july: Any, model: str) -> None:
    shown = preview(model, ctx(ANSWER, QUESTION), api_key="k")
    assert (shown.body.get("messages") or shown.body["contents"])[0]["role"] == "user"
    assert codes(shown) == ["message_added"]


@pytest.mark.parametrize(
    ("model", "options", "last"),
    [
        ("anthropic/claude-sonnet-4-5", {}, "assistant"),
        ("anthropic/claude-sonnet-4-5", {"reasoning": "low"}, "user"),
        ("anthropic/claude-opus-4-6", {}, "user"), ("anthropic/claude-sonnet-5", {}, "user"),
        ("openrouter/anthropic/claude-opus-4.7", {}, "user"), ("perplexity/sonar", {}, "user"),
        ("openai/gpt-4o", {}, "assistant"),
    ],
)  # fmt: skip
def test_prefill_is_sent_where_it_is_continued(
    july: Any, model: str, options: Any, last: str
) -> None:
    shown = preview(model, ctx(QUESTION, ANSWER), api_key="k", **options)
    assert shown.body["messages"][-1]["role"] == last
    assert ("message_added" in codes(shown)) is (last == "user")


THOUGHT = ThinkingContent(thinking="I should look.")
CALL = ToolCall(id="call_1", name="lookup", arguments={})
RESULT = ToolResultMessage(
    tool_call_id="call_1", tool_name="lookup", content=[TextContent(text="r")]
)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("hosted_vllm/MiniMax-M2", ["reasoning", "reasoning_content"]),
        ("hosted_vllm/own", ["reasoning", "reasoning_content"]),
        ("lm_studio/qwen3-4b", ["reasoning_content"]),
        ("deepseek/deepseek-v4-pro", ["reasoning_content"]),
        ("opencode/kimi-k2.6", ["reasoning_content"]),
        ("openrouter/moonshotai/kimi-k2.6", ["reasoning_details"]),
        ("nvidia/moonshotai/kimi-k2.5", ["reasoning", "reasoning_content"]),  # no record
        ("siliconflow/deepseek-ai/DeepSeek-V3.2", ["reasoning", "reasoning_content"]),
        ("groq/openai/gpt-oss-120b", []),  # rejects fields that it does not know
        ("openai/gpt-4o", []),
    ],
)  # fmt: skip
def test_thinking_goes_back_in_the_form_of_the_host(
    july: Any, model: str, fields: list[str]
) -> None:
    context = ctx(QUESTION, own(model, THOUGHT, CALL), RESULT, tools=[LOOKUP])
    turn = preview(model, context, api_key="k").body["messages"][1]
    assert sorted(name for name in turn if name.startswith("reasoning")) == fields
    for name in fields:
        assert "I should look." in str(turn[name])


@pytest.mark.parametrize(
    ("model", "placeholder"),
    [
        ("deepseek/deepseek-v4-pro", ""), ("opencode/deepseek-v4-flash", ""),
        ("moonshotai/kimi-k2.6", " "), ("nvidia/moonshotai/kimi-k2.5", " "),
        ("xiaomi/mimo-v2.5", ""), ("moonshotai/kimi-k2-0905-preview", None),
        ("zai/glm-4.7", None), ("openai/gpt-4o", None),
    ],
)  # fmt: skip
def test_turn_without_thinking_has_a_placeholder(
    july: Any, transport: str, model: str, placeholder: str | None
) -> None:
    context = ctx(QUESTION, own("faux/other", THOUGHT, CALL), RESULT, tools=[LOOKUP])
    context.messages += [own("faux/other", TextContent(text="a")), QUESTION]
    shown = preview(model, context, api_key="k", transport=transport)  # type: ignore[arg-type]
    turns = [message for message in shown.body["messages"] if message["role"] == "assistant"]
    assert [turn.get("reasoning_content") for turn in turns] == [placeholder, placeholder]


@pytest.mark.parametrize("model", ["mistral/magistral-medium-latest", "mistral/unlisted-model"])
def test_mistral_gets_its_thinking_as_chunks(july: Any, transport: str, model: str) -> None:
    answer = own(model, THOUGHT, TextContent(text="391"))
    shown = preview(model, ctx(QUESTION, answer, QUESTION), api_key="k", transport=transport)  # type: ignore[arg-type]
    assert shown.body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "I should look."}]},
        {"type": "text", "text": "391"},
    ]


@pytest.mark.parametrize(
    ("model", "sent"),
    [("opencode/claude-sonnet-4-5", False), ("kimi-for-coding/k2p5", True)],
)
def test_unsigned_thinking_over_anthropics_api(july: Any, model: str, sent: bool) -> None:
    answer = own(model, THOUGHT, CALL, api="anthropic-messages")
    context = ctx(QUESTION, answer, RESULT, tools=[LOOKUP])
    blocks = preview(model, context, api_key="k").body["messages"][1]["content"]
    thinking = [block for block in blocks if block["type"] == "thinking"]
    assert [block["signature"] for block in thinking] == ([""] if sent else [])


# === Names ==================================================================================


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        ("o3 o3-mini gpt-5 gpt-5.2-pro gpt-5-nano openai/o4-mini gpt-5.1-chat-latest",
         {"max_completion_tokens": True}),
        ("gpt-4o gpt-5-chat-latest gpt-5.3-chat-latest gpt-oss-120b openai/gpt-oss-20b foo1",
         {"max_completion_tokens": False}),
        ("claude-sonnet-4-5 claude-opus-4-1-20250805 claude-4.5-sonnet claude-opus-4-6"
         " anthropic.claude-haiku-4-5-20251001-v1:0", {"one_of_temperature_and_top_p": True}),
        ("claude-3-7-sonnet claude-opus-4-20250514 claude-sonnet-4@20250514 claude-opus-4-8",
         {"one_of_temperature_and_top_p": False}),
        ("claude-sonnet-5 claude-fable-5 claude-mythos-5 deepseek-v4-pro kimi-k2-thinking k2p6"
         " moonshotai/Kimi-K2.5 accounts/fireworks/models/kimi-k2p6", {"thinks_by_default": True}),
        ("claude-opus-4-8 deepseek-chat deepseek-v3.2 kimi-k2-0905-preview glm-4.7",
         {"thinks_by_default": False}),
    ],
)  # fmt: skip
def test_families_by_name(names: str, fields: dict[str, Any]) -> None:
    for name in names.split():
        family = family_for(name)
        assert {field: getattr(family, field) for field in fields} == fields, name


def test_every_family_is_reachable() -> None:
    """No pattern hides a later one."""
    names = (
        "claude-sonnet-5 claude-opus-4-7 claude-opus-4-6 claude-opus-4-5 claude-3-opus gpt-5"
        " command-a-plus grok-4 deepseek-reasoner deepseek-v4 deepseek-v3.2 kimi-k2.5 mimo-v2"
        " minimax-m2 glm-4.6 amazon.nova-pro-v1:0 gemma-2 mistral-7b"
    )
    assert [FAMILIES.index(family_for(name)) for name in names.split()] == [*range(len(FAMILIES))]


@pytest.mark.usefixtures("transport")
def test_option_that_a_host_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Profile(names=("novita-ai",), rejected_options=frozenset({"seed"}))
    monkeypatch.setitem(PROFILES, "novita-ai", row)
    profile_for.cache_clear()
    try:
        options: Any = {"seed": 1, "top_p": 0.5, "extra": {"seed": 2}}
        request = preview("novita-ai/x", "q", api_key="k", **options)
    finally:
        profile_for.cache_clear()
    assert (request.body.get("seed"), request.body["top_p"]) == (None, 0.5)
    texts = [warning.message for warning in request.warnings]
    assert "novita-ai does not accept seed" in texts
    assert "novita-ai does not accept seed; extra.seed was left out" in texts


def test_surplus_stops_are_named() -> None:
    shown = preview("openai/gpt-4o", "q", stop=["a", "b", "c", "d", "a", "e"])
    assert shown.body["stop"] == ["a", "b", "c", "d"]
    assert "stop 'a', 'e' was left out: openai takes at most 4" in str(shown.warnings)
    own = preview("openai/Qwen3-8B", "q", stop=list("abcde"), api_base="http://127.0.0.1:9/v1")
    assert own.body["stop"] == list("abcde")
