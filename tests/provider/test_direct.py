"""Test the direct transport."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import AssistantMessage, complete, preview

from ..support.scripted_server import Lab
from ..support.wire_formats import WIRES, Wire, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("hosted_vllm/m", "/v1/chat/completions"),
        ("openai/gpt-5-codex", "/v1/responses"),
        ("anthropic/claude-sonnet-4-5", "/v1/messages"),
    ],
)
def test_base_url_may_include_the_endpoint(july: Any, model: str, path: str) -> None:
    for tail in ("", "/"):
        url = preview(model, "q", api_base=f"http://127.0.0.1{path}{tail}?v=1").url
        assert url == f"http://127.0.0.1{path}?v=1"


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_values_that_json_cannot_represent(lab: Lab, wire: Wire) -> None:
    """Such values come from `extra=`, `on_payload=`, or a tool call built by the caller."""

    def asked(what: Any) -> AssistantMessage:
        return complete(
            wire.model, "q", api_base=wire.base(lab), api_key="sk-of-the-test",
            transport="direct", max_retries=0, on_payload=lambda body: {**body, "x": what},
        )  # fmt: skip

    for what in (float("nan"), object(), b"", {("a", "b"): 1}):
        error = asked(what).error
        assert error is not None
        assert error.kind == "bad_request"
        assert "on_payload=" in error.message
    assert not lab.seen
    lab.play(wire.scene(say("ok")))
    assert asked({"\ud800": ["half \udc00"]}).text == "ok"
    assert lab.seen[0].json["x"] == {"\ufffd": ["half \ufffd"]}


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_litellm_and_sdks_are_not_loaded(lab: Lab, wire: Wire) -> None:
    import subprocess
    import sys

    lab.play(wire.scene(say("ok")))
    code = (
        "import sys; from pipy_ai import complete;"
        f"m = complete({wire.model!r}, 'q', api_base={wire.base(lab)!r}, api_key='k');"
        "assert m.text == 'ok', m; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"litellm", "httpx", "openai", "anthropic", "google", "aiohttp", "yaml"} & loaded
