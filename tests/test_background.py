"""Test background responses with a server on loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    BackgroundResponse,
    PipyError,
    acollect_background,
    asubmit_background,
    budget,
    cancel_background,
    collect_background,
    ctx,
    submit_background,
    tool,
    user,
)

from .support.scripted_server import Lab, Status

MODEL = "openai/gpt-5.4"


class Person(BaseModel):
    name: str


@tool
def get_weather(city: str) -> str:
    """Look up the weather."""
    return city


def options(lab: Lab) -> dict[str, Any]:
    return {"api_key": "the-key", "api_base": lab.url}


def response(status: str, *output: dict[str, Any], **fields: Any) -> Status:
    usage = {"input_tokens": 10_000, "output_tokens": 1_000} if output else None
    body = {"id": "resp_1", "object": "response", "model": "gpt-5.4", "status": status}
    return Status(200, json.dumps({**body, "output": [*output], "usage": usage, **fields}))


def text(content: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": content, "annotations": []}
    return {"type": "message", "id": "m", "role": "assistant", "content": [part]}


def test_answer_within_eight_hours(lab: Lab, july: Any) -> None:
    """The price of the window is not known, so there is no cost."""
    lab.play(response("queued"), response("in_progress"), response("completed", text("Hi.")))
    submitted = submit_background(MODEL, "Hello", window="8h", **options(lab))
    assert (lab.seen[0].method, lab.seen[0].path) == ("POST", "/v1/responses")
    sent = lab.seen[0].json
    assert (sent["background"], sent["store"], "stream" in sent) == (True, True, False)
    assert sent["background_options"] == {"completion_window": "8h"}
    data = json.loads(json.dumps(submitted.to_dict()))
    assert "the-key" not in json.dumps(data)
    restored = BackgroundResponse.from_dict(data)
    answer = collect_background(restored, poll=0.01, api_key="the-key")
    assert [(one.method, one.path) for one in lab.seen[1:]] == [("GET", "/v1/responses/resp_1")] * 2
    assert (answer.text, answer.usage.input, answer.error) == ("Hi.", 10_000, None)
    assert answer.usage.cost.total is None
    assert "'background_8h', whose price is unknown" in answer.warnings[0].message


async def test_answer_at_the_standard_price(lab: Lab, july: Any) -> None:
    lab.play(response("queued"), Status(503, "{}"), response("completed", text("Hi.")))
    with budget(usd=1) as spent:
        submitted = await asubmit_background(MODEL, "Hello", **options(lab))
        assert "background_options" not in lab.seen[0].json
        answer = await acollect_background(submitted, poll=0.01, **options(lab))
    assert answer.usage.cost.total == pytest.approx((10_000 * 2.5 + 1_000 * 15) / 1e6)
    assert spent.spent == pytest.approx(answer.usage.cost.total)


def test_flex_in_the_background(lab: Lab, july: Any) -> None:
    lab.play(response("queued"), response("completed", text("Hi."), service_tier="flex"))
    submitted = submit_background(MODEL, "Hello", service_tier="flex", **options(lab))
    assert lab.seen[0].json["service_tier"] == "flex"
    answer = collect_background(submitted, poll=0.01, **options(lab))
    assert answer.usage.cost.total == pytest.approx((10_000 * 2.5 + 1_000 * 15) / 1e6 / 2)


def test_output_and_tools(lab: Lab, july: Any) -> None:
    call = {
        "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "the_weather",
        "arguments": '{"city": "Lima"}',
    }  # fmt: skip
    lab.play(response("queued"), response("completed", text('{"name": "Ada"}')))
    with budget(usd=1) as spent:
        submitted = submit_background(MODEL, "Who?", output=Person, **options(lab))
        assert lab.seen[0].json["text"]["format"]["type"] == "json_schema"
        answer = collect_background(submitted, output=Person, poll=0.01, **options(lab))
    assert spent.spent == pytest.approx(0.04)
    assert answer.parsed == Person(name="Ada")
    lab.play(response("queued"), response("completed", call))
    weather = get_weather.model_copy(update={"name": "the weather"})
    context = ctx(user("Weather?"), tools=[weather])
    data = submit_background(MODEL, context, **options(lab)).to_dict()
    call["name"] = lab.seen[-1].json["tools"][0]["name"]
    lab.play(response("completed", call))
    message = collect_background(BackgroundResponse.from_dict(data), poll=0.01, **options(lab))
    assert [(one.name, one.arguments) for one in message.tool_calls] == [
        ("the weather", {"city": "Lima"})
    ]


def test_response_that_failed_or_was_cancelled(lab: Lab, july: Any) -> None:
    error = {"code": "server_error", "message": "It broke."}
    lab.play(response("failed", error=error), response("cancelled"), response("cancelled"))
    submitted = BackgroundResponse("resp_1", MODEL)
    failed = collect_background(submitted, poll=0.01, **options(lab))
    assert failed.error is not None
    assert "It broke." in failed.error.message
    cancel_background(submitted, **options(lab))
    assert (lab.seen[1].method, lab.seen[1].path) == ("POST", "/v1/responses/resp_1/cancel")
    cancelled = collect_background(submitted, poll=0.01, **options(lab))
    assert cancelled.error is not None
    assert "cancelled" in cancelled.error.message


def test_timeout_leaves_it_running(lab: Lab, july: Any) -> None:
    lab.play(*[response("in_progress")] * 200)
    submitted = BackgroundResponse("resp_1", MODEL)
    with pytest.raises(TimeoutError, match=r"resp_1 is not answered after 0\.05 s"):
        collect_background(submitted, poll=0.01, timeout=0.05, **options(lab))


def test_lost_response_is_not_repeated(lab: Lab, july: Any) -> None:
    lab.play(Status(500, "{}"))
    with pytest.raises(PipyError):
        submit_background(MODEL, "Hello", **options(lab))
    assert len(lab.seen) == 1


def test_wrong_arguments(july: Any) -> None:
    with pytest.raises(ValueError, match="window must be"):
        submit_background(MODEL, "Hello", window="24h")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave out service_tier='flex'"):
        submit_background(MODEL, "Hello", window="2h", service_tier="flex")
    with pytest.raises(PipyError, match="only models of openai answer in the background"):
        submit_background("anthropic/claude-sonnet-4-5", "Hello", api_key="k")
    with pytest.raises(ValueError, match="not a background response"):
        BackgroundResponse.from_dict({"name": "x"})
