"""Test thinking that hosts send as text."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from pipy_ai import AssistantMessage, complete, stream
from pipy_ai.errors import ErrorKind, error_info
from pipy_ai.provider.assembler import Assembler
from pipy_ai.provider.deltas import Delta, Finish, Text, Thinking, ToolFragment
from pipy_ai.provider.think_tags import TAGS, ThinkTagParser

from ..support.event_grammar import check_events
from ..support.scenarios import shape
from ..support.scripted_server import DONE, FIN, Lab, call, chunk, finish, sse, text
from ..support.wire_formats import CHAT, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def read(deltas: Sequence[Delta], opened: bool = False, fails: bool = False) -> AssistantMessage:
    """Return the message of a response, with every event checked."""
    assembler = Assembler(think_tags=ThinkTagParser(opened))
    events = [assembler.start()]
    for delta in deltas:
        events += assembler.feed([delta])
    if fails:
        events += assembler.fail(error_info(ErrorKind.CONNECTION, "gone"))
    else:
        events += assembler.feed([Finish("stop")])
        events += assembler.finish()
    return check_events(events)


def content(pieces: Sequence[str], opened: bool = False, fails: bool = False) -> list[Any]:
    return shape(read([Text(piece) for piece in pieces], opened, fails))


def splits(whole: str) -> list[list[str]]:
    """Return every way to cut a short text; of a longer one all single cuts and some others."""
    cuts: list[tuple[int, ...]] = [(), *((at,) for at in range(1, len(whole)))]
    positions = range(1, len(whole))
    if len(whole) <= 12:
        cuts = [c for n in range(len(whole)) for c in itertools.combinations(positions, n)]
    else:
        rng = random.Random(whole)
        cuts += itertools.combinations(positions, 2)
        cuts += [tuple(sorted(rng.sample(positions, 5))) for _ in range(200)]
        cuts.append(tuple(positions))
    ends = [(0, *cut, len(whole)) for cut in cuts]
    return [[whole[a:b] for a, b in itertools.pairwise(cut)] for cut in ends]


THINKING: list[tuple[str, list[Any]]] = [
    ("<think>\nhm\n</think>\n\nHi", [{"think": "hm"}, "Hi"]),
    ("<think>hm</think>Hi", [{"think": "hm"}, "Hi"]),
    (" \n<think>a <b> </thin</think> c", [{"think": "a <b> </thin"}, "c"]),
    ("<think>\n\n</think>\n\nHi", ["Hi"]),  # Qwen3 with thinking turned off
    ("<think></think>", []),
    ("<think>a\n\nb</think>\n<think>c</think> d", [{"think": "a\n\nb"}, "<think>c</think> d"]),
    ("<think>not closed \n", [{"think": "not closed"}]),
    ("<think>half a tag </thi", [{"think": "half a tag </thi"}]),
    ("<think><</think>>", [{"think": "<"}, ">"]),
    ("<think>字 😀</think>é", [{"think": "字 😀"}, "é"]),
    *[(f"{tag}a{end}b", [{"think": "a"}, "b"]) for tag, end in TAGS.items()],
    # Not thinking:
    ("Hi <think>hm</think>", ["Hi <think>hm</think>"]),
    (" \n Hi", [" \n Hi"]),
    ("\n", ["\n"]),
    ("<thi", ["<thi"]),
    ("<thing>x</thing>", ["<thing>x</thing>"]),
    ("<thinker>x</thinker>", ["<thinker>x</thinker>"]),
    ("<reasoning>x</reasoning>", ["<reasoning>x</reasoning>"]),
    ("<thinking>a</think>b</thinking>c", [{"think": "a</think>b"}, "c"]),
    ("<<think>x", ["<<think>x"]),
    ("hm</think>Hi", ["hm</think>Hi"]),
]


@pytest.mark.parametrize(("whole", "expected"), THINKING)
def test_tags_are_read_wherever_the_text_is_split(whole: str, expected: list[Any]) -> None:
    for pieces in splits(whole):
        assert content(pieces) == expected, pieces


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        ("hm\n</think>\n\nHi", [{"think": "hm"}, "Hi"]),
        ("<think>hm</think>Hi", [{"think": "hm"}, "Hi"]),  # the model repeats the tag
        ("</think>Hi", ["Hi"]),
        ("no end", [{"think": "no end"}]),
        ("<th", [{"think": "<th"}]),
    ],
)
def test_tag_that_the_prompt_opened(whole: str, expected: list[Any]) -> None:
    for pieces in splits(whole):
        assert content(pieces, opened=True) == expected, pieces


def test_random_texts_keep_every_character() -> None:
    """Apart from the first pair of tags and the white space around them, nothing is lost."""
    rng = random.Random(15)
    alphabet = ["<think>", "</think>", "<", ">", "</", "think", " ", "\n", "a", "字", "<thi"]
    for _ in range(3000):
        whole = "".join(rng.choices(alphabet, k=rng.randint(0, 9)))
        start = whole.lstrip(" \t\r\n")
        if start.startswith("<think>"):
            thinking, _, answer = start.removeprefix("<think>").partition("</think>")
            thinking, answer = thinking.strip(" \t\r\n"), answer.lstrip(" \t\r\n")
            expected = [*([{"think": thinking}] if thinking else []), *([answer] if answer else [])]
        else:
            expected = [whole] if whole else []
        cut = sorted(rng.choices(range(len(whole) + 1), k=3))
        pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cut, len(whole)])]
        assert content(pieces) == expected, pieces


def test_failure_keeps_what_was_held_back() -> None:
    assert content(["<thi"], fails=True) == ["<thi"]
    assert content(["<think>a </thi"], fails=True) == [{"think": "a </thi"}]
    assert content(["<think>a</think>", "\n", "b"], fails=True) == [{"think": "a"}, "b"]


def test_host_that_separates_thinking_is_left_alone() -> None:
    quoted = [Thinking("hm"), Text("<think>"), Text(" opens a block</think>")]
    assert shape(read(quoted)) == [{"think": "hm"}, "<think> opens a block</think>"]


def test_tool_calls_end_the_search_for_tags_and_not_the_thinking() -> None:
    tool = ToolFragment(0, "c", "f", "{}")
    assert shape(read([Text("\n"), tool, Text("<think>")])) == ["\n", ("f", {}), "<think>"]
    parts = [Text("<think>a </thi"), tool, Text("nk>"), Text(" b")]
    assert shape(read(parts)) == [{"think": "a"}, ("f", {}), "b"]


# --- Which requests are parsed --------------------------------------------------------------

TAGGED = [*text("<thi", "nk>\nhm", "\n</th", "ink>\n\nHi"), finish("stop"), DONE]
PARSED = [{"think": "hm"}, "Hi"]
RAW = ["<think>\nhm\n</think>\n\nHi"]


def ask(lab: Lab, model: str, **options: Any) -> AssistantMessage:
    options = {"api_key": "k", "api_base": lab.url, "max_retries": 0, **options}
    return check_events(list(stream(model, "q", **options)))


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("groq/qwen/qwen3-32b", PARSED),
        ("openrouter/deepseek/deepseek-r1", PARSED),
        ("togetherai/deepseek-ai/DeepSeek-R1", PARSED),
        ("huggingface/Qwen/Qwen3-235B-A22B-Thinking-2507", PARSED),
        ("groq/llama-3.3-70b-versatile", RAW),  # does not reason
        ("openai/gpt-4o-mini", RAW),
        ("hosted_vllm/unlisted", RAW),
        # Listed by others:
        ("hosted_vllm/deepseek-ai/DeepSeek-R1", PARSED),
        ("hosted_vllm/qwen3-32b", PARSED),
        ("hosted_vllm/meta-llama/Llama-3.3-70B-Instruct", RAW),
    ],
)
def test_reasoning_models_of_the_catalogue_are_parsed(
    lab: Lab, july: Any, model: str, expected: list[Any], transport: Any
) -> None:
    lab.play(*[sse(*TAGGED)] * 3)
    assert shape(ask(lab, model, transport=transport)) == expected
    assert shape(ask(lab, model, transport=transport, think_tags="keep")) == RAW
    assert shape(ask(lab, model, transport=transport, think_tags="parse")) == PARSED


def test_reasoning_models_of_other_apis_are_left_alone(lab: Lab, july: Any) -> None:
    delta = {"type": "text_delta", "text": "<think>x</think>"}
    lab.play(
        sse(
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        )
    )
    base = lab.url.removesuffix("/v1")
    message = ask(lab, "anthropic/claude-sonnet-4-5", api_base=base)
    assert message.text == "<think>x</think>"


def test_unopened_tag_is_a_warning_or_an_option(lab: Lab, july: Any) -> None:
    """Templates of DeepSeek R1 and Qwen3 Thinking end with the opening tag (vllm#13125)."""
    model = "openrouter/deepseek/deepseek-r1"
    lab.play(*[sse(*text("hm</thi", "nk>\n\nHi"), finish("stop"), DONE)] * 2)
    message = ask(lab, model)
    assert shape(message) == ["hm</think>\n\nHi"]
    assert [warning.code for warning in message.warnings] == ["think_tag_unopened"]
    message = ask(lab, model, think_tags="opened")
    assert shape(message) == PARSED
    assert message.warnings == []
    lab.play(sse(*text("Write <think> and </think>."), finish("stop"), DONE))
    assert ask(lab, model).warnings == []


def test_truncated_response(lab: Lab, july: Any) -> None:
    lab.play(sse(*text("<think>hm </th"), FIN))
    message = ask(lab, "groq/qwen/qwen3-32b")
    assert shape(message) == [{"think": "hm </th"}]
    assert message.error is not None
    assert message.error.kind == "incomplete"


def test_thinking_before_a_call(lab: Lab, july: Any) -> None:
    lab.play(sse(*text("<think>hm</think>\n"), call(0, "c", "f", "{}"), finish("tool_calls"), DONE))
    message = ask(lab, "groq/qwen/qwen3-32b")
    assert shape(message) == [{"think": "hm"}, ("f", {})]


def test_response_in_one_piece(lab: Lab, july: Any) -> None:
    whole = chunk({"content": RAW[0]}, finish_reason="stop")
    whole["choices"][0]["message"] = whole["choices"][0].pop("delta")
    import json

    lab.play([json.dumps(whole).encode()])
    assert shape(ask(lab, "groq/qwen/qwen3-32b")) == PARSED


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize(("think_tags", "expected"), [("auto", PARSED), ("keep", RAW)])
def test_embedded_model_is_parsed(think_tags: Any, expected: list[Any]) -> None:
    grammar = f"root ::= {json.dumps(RAW[0])}"
    options: dict[str, Any] = {"extra": {"grammar": grammar}, "think_tags": think_tags}
    message = check_events(list(stream("local/smollm2", "q", **options)))
    assert shape(message) == expected


@pytest.mark.parametrize("tag", ["<thinking>", "<thought>"])
@pytest.mark.parametrize("mode", ["auto", "parse"])
def test_tags_that_only_some_models_write(lab: Lab, tag: str, mode: Any) -> None:
    """Others write them because the prompt asks for them."""
    text = f"{tag}Step 1{tag.replace('<', '</')}\n42"
    lab.play(CHAT.scene(say(text)))
    message = complete(
        "openrouter/anthropic/claude-sonnet-4", "q", api_base=lab.url, api_key="k", think_tags=mode
    )
    assert message.text == (text if mode == "auto" else "42")
