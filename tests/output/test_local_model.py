"""Test typed output of the embedded model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from pipy_ai import complete, stream

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


class Place(BaseModel):
    city: Literal["Paris", "Rome"]
    stars: Annotated[int, Field(ge=1, le=5)]
    sights: Annotated[list[Literal["tower", "forum", "bridge"]], Field(min_length=1, max_length=2)]


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("mode", ["native", "tool"])
def test_embedded_model_fills_a_model(mode: Any) -> None:
    s = stream("local/smollm2", "Where is the forum?", output=Place, output_mode=mode)
    partials = [event.parsed_partial for event in s]
    message = s.result()
    assert message.error is None, message.error
    assert isinstance(message.parsed, Place)
    assert {"city": message.parsed.city} in partials


def test_llama_cpp_server_fills_a_model(llama: str, transport: str) -> None:
    body = {"chat_template_kwargs": {"enable_thinking": False}}
    options: dict[str, Any] = {
        "api_base": llama, "temperature": 0, "max_tokens": 100, "extra": {"extra_body": body},
    }  # fmt: skip
    message = complete("hosted_vllm/smollm2", "Where is the forum?", output=Place, **options)
    assert message.error is None, message.error
    assert isinstance(message.parsed, Place)
    letter = complete("hosted_vllm/smollm2", "Which?", output=Literal["a", "b"], **options)
    assert letter.parsed in ("a", "b")
