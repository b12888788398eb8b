"""Test models of the router file in LiteLLM's Router."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipy_ai import LiteLLMProvider, acomplete, complete, preview, register_provider, stream, user
from pipy_ai.provider.registered import unregister_provider
from pipy_ai.utils.atomic import write_atomically

from ..support.scripted_server import Lab, Status, chunk, sse
from ..support.wire_formats import ANTHROPIC, CHAT, Counts, say, think, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def write(path: Path, *models: tuple[str, str, str], settings: str = "") -> None:
    """Write a router file with `(name, LiteLLM model, base URL)` entries."""
    lines = ["model_list:"]
    for name, model, base in models:
        lines += [f"  - model_name: {name}", "    litellm_params:", f"      model: {model}"]
        lines += [f"      api_base: {base}", "      api_key: os.environ/LAB_KEY"]
    write_atomically(str(path), ("\n".join(lines) + "\n" + settings).encode())


@pytest.fixture
def router(july: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_KEY", "lab-key-0123456789")
    return july / "router.yaml"


ANSWER = CHAT.scene(think("hm"), say("Hel", "lo"), tool("c", "f", '{"x":', "1}"), stop="tool",
                    counts=Counts(100, 20))  # fmt: skip


@pytest.mark.litellm
def test_router_models_go_through_the_router(lab: Lab, router: Path) -> None:
    write(router, ("fast", "hosted_vllm/m", lab.url), ("openai/gpt-5", "openai/m", lab.url))
    lab.play(ANSWER)
    message = complete("fast", "q")
    assert message.error is None, message.error
    assert (message.api, message.text, message.thinking_text) == ("litellm", "Hello", "hm")
    assert message.tool_calls[0].arguments == {"x": 1}
    assert (message.usage.input, message.usage.output) == (100, 20)
    assert lab.seen[0].headers["authorization"] == "Bearer lab-key-0123456789"
    lab.play(CHAT.scene(say("ok"), counts=Counts(1_000_000, 0)))
    message = complete("gpt-5", "q")  # its full name is in the file
    assert message.error is None, message.error
    assert (message.provider, message.model, message.text) == ("openai", "m", "ok")
    assert lab.seen[1].json["model"] == "m"
    lab.play(CHAT.scene(say("direct")))
    message = complete("openai/gpt-5", "q", api_base=lab.url, api_key="own")
    assert (message.text, message.api) == ("direct", "openai-completions")
    lab.play(CHAT.scene(say("other")))
    message = complete("hosted_vllm/other", "q", api_base=lab.url)
    assert message.api == "openai-completions"
    shown = preview("fast", "q")
    assert (shown.url, shown.body["model"]) == ("", "fast")
    assert "lab-key" not in repr(shown)


@pytest.mark.litellm
async def test_async_router_request(lab: Lab, router: Path) -> None:
    write(router, ("fast", "hosted_vllm/m", lab.url))
    lab.play(CHAT.scene(say("ok")), CHAT.scene(say("ok")))
    assert (await acomplete("fast", "q")).text == "ok"
    assert (await acomplete("fast", [user("q")])).text == "ok"


@pytest.mark.litellm
def test_changed_file_is_reloaded(lab: Lab, router: Path) -> None:
    write(router, ("fast", "hosted_vllm/one", lab.url))
    lab.play(CHAT.scene(say("ok")), CHAT.scene(say("ok")))
    complete("fast", "q")
    write(router, ("fast", "hosted_vllm/two", lab.url))
    complete("fast", "q")
    assert [seen.json["model"] for seen in lab.seen] == ["one", "two"]
    router.unlink()
    with pytest.raises(ValueError, match="no model 'fast'"):
        complete("fast", "q")


@pytest.mark.litellm
def test_fallback(lab: Lab, router: Path) -> None:
    settings = "router_settings:\n  fallbacks:\n    - first: [second]\n"
    write(
        router, ("first", "hosted_vllm/a", "http://127.0.0.1:9/v1"),
        ("second", "anthropic/b", ANTHROPIC.base(lab)), settings=settings,
    )  # fmt: skip
    lab.play(ANTHROPIC.scene(say("saved")))
    message = complete("first", "q", max_retries=0)
    assert message.error is None, message.error
    assert message.text == "saved"
    assert lab.seen[0].json["model"] == "b"


@pytest.mark.litellm
def test_failures_are_errors(lab: Lab, router: Path) -> None:
    write(router, ("fast", "hosted_vllm/m", lab.url), ("slow", "hosted_vllm/m2", lab.url))
    lab.play(Status(401, {"error": {"message": "bad key lab-key-0123456789"}}))
    message = complete("fast", "q", max_retries=0)
    assert message.error is not None
    assert message.error.kind == "auth"
    assert "lab-key" not in message.model_dump_json()
    message = complete("fast", "q", max_retries=0)  # it rests now
    assert message.error is not None
    assert message.error.kind == "overloaded"
    # LiteLLM makes up a "stop" for a stream without an end.
    lab.play(sse(chunk({"content": "half"})))
    message = complete("slow", "q", max_retries=0)
    assert message.error is not None
    assert (message.error.kind, message.text) == ("incomplete", "half")


@pytest.mark.litellm
def test_leaving_closes_the_connection(lab: Lab, router: Path) -> None:
    from ..support.scripted_server import STALL

    write(router, ("fast", "hosted_vllm/m", lab.url))
    lab.play([*CHAT.scene(say("a"))[:1], STALL])
    with stream("fast", "q") as events:
        for event in events:
            if event.type == "text_delta":
                break
    assert lab.seen[0].left.wait(10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model_list:\n  - model_name: [a\n", "line 3"),
        ("model_list: []\n", "model_list is missing"),
        ("model_list:\n  - model_name: a\n", "entry 1"),
        ("- a\n", "model_list is missing"),
        ("model_list:\n  - {model_name: a, litellm_params: {model: b}}\nrouter_settings: 3\n",
         "router_settings"),
    ],
)  # fmt: skip
def test_broken_file_is_reported(router: Path, text: str, expected: str) -> None:
    router.write_text(text)
    message = complete("openai/gpt-5", "q")
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert expected in message.error.message
    assert str(router) in message.error.message


@pytest.mark.litellm
def test_alternative_file(lab: Lab, router: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    write(mine, ("mine", "hosted_vllm/m", lab.url))
    register_provider("litellm", LiteLLMProvider(config_path=mine))
    try:
        lab.play(CHAT.scene(say("ok")))
        assert complete("mine", "q").text == "ok"
        mine.unlink()
        message = complete("mine", "q")
        assert message.error is not None
        assert "does not exist" in message.error.message
    finally:
        unregister_provider("litellm")


@pytest.mark.parametrize("name", ["groq/foo", "groq/a/b", "quick", "hidden"])
@pytest.mark.litellm
def test_wildcards_and_aliases_go_through_the_router(lab: Lab, july: Path, name: str) -> None:
    where = {"api_base": lab.url, "api_key": "lab-key-0123456789"}
    config = {
        "model_list": [
            {"model_name": "groq/*", "litellm_params": {"model": "hosted_vllm/*", **where}},
            {"model_name": "fast", "litellm_params": {"model": "hosted_vllm/m", **where}},
        ],
        "router_settings": {
            "model_group_alias": {"quick": "fast", "hidden": {"model": "fast", "hidden": True}}
        },
    }
    (july / "router.yaml").write_text(json.dumps(config))
    lab.play(CHAT.scene(say("ok")))
    message = complete(name, "hi", max_retries=0)
    assert message.error is None, message.error
    assert (message.text, message.api) == ("ok", "litellm")
    assert lab.seen[0].json["model"] == {"groq/foo": "foo", "groq/a/b": "a/b"}.get(name, "m")
    with pytest.raises(ValueError, match="no model"):
        complete("slow", "hi")


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "model_list:\n"])
def test_empty_router_file_is_reported(july: Path, content: str) -> None:
    (july / "router.yaml").write_text(content)
    message = complete("openai/gpt-5", "q")
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "router.yaml: model_list is missing" in message.error.message
