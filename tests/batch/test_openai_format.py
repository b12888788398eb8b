"""Test lines of OpenAI's Batch API as input of `pipy batch`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.batch.openai_format import parse_request_line
from pipy_ai.cli.main import main

from ..support.scripted_server import Lab, chat, finish, text, usage

FUNCTION = {
    "name": "weather",
    "description": "The weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def line(custom_id: str, url: str = "/v1/chat/completions", /, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def write(*rows: Any) -> None:
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def batch(lab: Lab, *arguments: str) -> int:
    return main(["batch", "in.jsonl", "-o", "out.jsonl", "--api-base", lab.url, "-j", "1",
                 *arguments])  # fmt: skip


def answers() -> list[dict[str, Any]]:
    return [json.loads(answer) for answer in Path("out.jsonl").read_text().splitlines()]


def test_model_messages_tools_and_options(lab: Lab) -> None:
    lab.always = chat(text("ok"), finish("stop"), usage(5, 3))
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Rome?"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function",
             "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
        {"role": "user", "content": "And?"},
    ]  # fmt: skip
    write(
        line(
            "request-1", model="hosted_vllm/a", messages=messages, temperature=0.2, top_p=0.9,
            max_completion_tokens=77, seed=3, stop=["END"], n=1, stream=False,
            presence_penalty=0.5, frequency_penalty=0, user="u1",
            tools=[{"type": "function", "function": FUNCTION}],
            tool_choice={"type": "function", "function": {"name": "weather"}},
        ),
        line("request-2", model="hosted_vllm/b", messages=[{"role": "user", "content": "Hi"}]),
    )  # fmt: skip
    assert batch(lab) == 0
    first, second = (seen.json for seen in lab.seen)
    assert (first["model"], second["model"]) == ("a", "b")
    assert [message["role"] for message in first["messages"]] == [
        "system", "user", "assistant", "tool", "user"
    ]  # fmt: skip
    call = first["messages"][2]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}
    assert first["messages"][3]["tool_call_id"] == call["id"]
    sent = ("temperature", "top_p", "seed", "stop", "presence_penalty", "user")
    assert [first[name] for name in sent] == [0.2, 0.9, 3, ["END"], 0.5, "u1"]
    assert first.get("max_tokens") == 77
    assert first["tools"][0]["function"]["name"] == "weather"
    assert first["tool_choice"]["function"]["name"] == "weather"
    assert "frequency_penalty" not in first
    assert [(answer["id"], answer["custom_id"], answer["model"]) for answer in answers()] == [
        ("request-1", "request-1", "hosted_vllm/a"), ("request-2", "request-2", "hosted_vllm/b")
    ]  # fmt: skip
    assert batch(lab) == 0
    assert len(lab.seen) == 2  # nothing is sent twice


def test_schema(lab: Lab) -> None:
    lab.always = chat(text('{"name": "Ada"}'), finish("stop"))
    ask = [{"role": "user", "content": "Who?"}]
    response_format = {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}
    write(line("a", model="hosted_vllm/a", messages=ask, response_format=response_format))
    assert batch(lab) == 0
    sent = lab.seen[0].json["response_format"]["json_schema"]["schema"]
    assert sent["properties"] == SCHEMA["properties"]
    assert answers()[0]["parsed"] == {"name": "Ada"}


def test_body_of_responses(lab: Lab) -> None:
    lab.always = chat(text("ok"), finish("stop"))
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "Rome?"}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Sunny."},
    ]
    write(
        line("a", "/v1/responses", model="hosted_vllm/a", input="Hi", instructions="Be brief.",
             max_output_tokens=50),
        line("b", "/v1/responses", model="hosted_vllm/a", input=items,
             tools=[{"type": "function", **FUNCTION}]),
    )  # fmt: skip
    assert batch(lab) == 0
    first, second = (seen.json for seen in lab.seen)
    assert [message["content"] for message in first["messages"]] == ["Be brief.", "Hi"]
    assert first["max_tokens"] == 50
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool"]
    assert second["tools"][0]["function"]["name"] == "weather"


def test_the_command_line_goes_before_the_body(lab: Lab) -> None:
    lab.always = chat(text("ok"), finish("stop"))
    ask = [{"role": "user", "content": "Hi"}]
    write(line("a", model="no-such-host/x", messages=ask, temperature=1, max_tokens=9))
    assert batch(lab, "-m", "hosted_vllm/mine", "--temperature", "0", "-s", "Be kind.") == 0
    sent = lab.seen[0].json
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("mine", 0, 9)
    assert sent["messages"][0] == {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize(
    ("model", "reason"),
    [("nosuch/y", "Unknown provider"), ("openai/gpt-5-mini", "OPENAI_API_KEY")],
)
def test_a_bad_model_is_the_failure_of_its_line(
    bad: int, model: str, reason: str, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = [{"role": "user", "content": "Hi"}]
    models = ["faux/echo"] * 3
    models[bad] = model
    write(*[line(f"r{n}", model=name, messages=ask) for n, name in enumerate(models, 1)])
    for arguments in (["-j", "1"], ["-j", "1", "--retry-errors"]):
        assert main(["batch", "in.jsonl", "-o", "out.jsonl", *arguments]) == 1
        output = capsys.readouterr().err
        assert f"line {bad + 1} (id 'r{bad + 1}', {model}): " in output
        assert reason in output
        assert "stopped" not in output
        assert [one["error"] is None for one in answers()] == [
            name == "faux/echo" for name in models
        ]


def test_an_error_that_stops_the_batch_names_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    ask = [{"role": "user", "content": "Hi"}]
    write(*[line(f"r{n}", model="nosuch/y", messages=ask) for n in (1, 2)])
    assert main(["batch", "in.jsonl", "-o", "out.jsonl", "-j", "1", "--json"]) == 1
    output = capsys.readouterr()
    assert "stopped: line 1 (id 'r1', nosuch/y): Unknown provider" in output.err
    assert json.loads(output.out)["stopped"].startswith("line 1 (id 'r1', nosuch/y): ")


def test_a_changed_body_is_another_request(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.always = chat(text("ok"), finish("stop"))
    ask = [{"role": "user", "content": "Hi"}]
    write(line("a", model="hosted_vllm/a", messages=ask))
    assert batch(lab) == 0
    for body in ({"model": "hosted_vllm/b"}, {"model": "hosted_vllm/a", "temperature": 1}):
        write(line("a", messages=ask, **body))
        assert batch(lab) == 2
        assert "line 1 (id 'a') was already answered" in capsys.readouterr().err
    assert batch(lab, "--redo-changed") == 0
    assert lab.seen[1].json["temperature"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            line("a", "/v1/embeddings", model="m", input="x"),
            "line 2: url must be /v1/chat/completions",
        ),
        (line("a", model="hosted_vllm/a"), "line 2: the body has neither messages nor input"),
        (line("a", messages=[{"role": "user", "content": "a"}], n=2), "line 2: body.n 2"),
        (line("a", messages=[], temperature="hot"), "line 2: body.temperature: Input should be"),
        (line("a", messages=[], tools=[{"type": "web_search"}]), "body.tools may contain only"),
        (line("a", messages=[], tools=["x"]), 'an item of body.tools must be an object, not "x"'),
        (line("a", messages=[], tools="x"), 'line 2: body.tools must be a list, not "x"'),
        (line("a", messages="x"), 'line 2: body.messages must be a list, not "x"'),
        (
            line("a", messages=[], reasoning="x"),
            'line 2: body.reasoning must be an object, not "x"',
        ),
        (
            line("a", messages=[], tool_choice={"function": 1}),
            "tool_choice.function must be an object",
        ),
        (line("a", messages=[{"role": "assistant", "tool_calls": 5}]), "tool_calls must be a list"),
        (line("a", input=5), "line 2: body.input must be a string or a list, not 5"),
        (line("a", input=["hi"]), 'line 2: an item of body.input must be an object, not "hi"'),
        (line("a", input=[{"type": "function_call"}]), "'function_call' needs call_id"),
        (line("a", input="x", text="x"), 'line 2: body.text must be an object, not "x"'),
        (line("a", input="x", text={"format": "x"}), "line 2: body.text.format must be an object"),
        (line("a", messages=[], response_format="json"), "body.response_format must be an object"),
        (line("a", messages=[], response_format={"type": "json_schema"}),
         "line 2: body.response_format.schema must be an object, not null"),
        (line("a", messages=[], response_format={"type": "json_schema", "json_schema": {}}),
         "line 2: body.response_format.json_schema.schema must be an object, not null"),
        (line("a", messages=[{"role": "user", "content": [{"type": "file", "file": {
            "file_id": "f"}}]}]), "file_id is not supported"),
        (line("a", messages=[], model="nonsense"), "line 2: no model"),
        (line("ok", messages=[]), "the id 'ok' is used in lines 1 and 2"),
    ],
)  # fmt: skip
def test_malformed_lines(
    row: Any, message: str, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    write(line("ok", model="hosted_vllm/a", messages=[{"role": "user", "content": "a"}]), row)
    assert batch(lab) == 2
    assert message in capsys.readouterr().err
    assert not lab.seen


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"reasoning_effort": "none"}, {"reasoning": "off"}),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, {"reasoning": "high"}),
        ({"tool_choice": "required", "parallel_tool_calls": False},
         {"tool_choice": "required", "extra": {"parallel_tool_calls": False}}),
        ({"tool_choice": {"type": "function", "name": "f"}}, {"tool_choice": "f"}),
        ({"response_format": {"type": "json_object"}}, {"output": {"type": "object"}}),
        ({"text": {"format": {"type": "json_schema", "name": "p", "schema": SCHEMA}}},
         {"output": SCHEMA}),
        ({"response_format": {"type": "text"}, "stream_options": None, "logit_bias": {}}, {}),
    ],
)  # fmt: skip
def test_options(body: dict[str, Any], options: dict[str, Any]) -> None:
    ask = [{"role": "user", "content": "Hi"}]
    assert parse_request_line(line("a", messages=ask, **body), None).options == options


@pytest.mark.parametrize(
    "field",
    [
        "api_base", "api_key", "aws_bedrock_runtime_endpoint", "azure_ad_token", "base_url",
        "client", "custom_llm_provider", "extra_body", "extra_headers", "fallbacks",
        "litellm_params", "mock_response", "model_list", "vertex_credentials",
    ],
)  # fmt: skip
def test_lines_hold_no_addresses_and_credentials(lab: Lab, field: str) -> None:
    """A batch file of a stranger must not send the user's key elsewhere."""
    body = {"messages": [{"role": "user", "content": "Hi"}], field: lab.url}
    with pytest.raises(ValueError, match=f"body.{field} is a setting of the client"):
        parse_request_line(line("a", **body), None)
