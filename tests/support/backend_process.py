"""A host of models in a process of its own, so that it can be killed; prints its address. For the
tests: it answers on OpenAI's wire and on Anthropic's, by what the prompt says."""

import json
import threading
from typing import Any

from .scripted_server import Lab, Scene, Seen, Status
from .wire_formats import ANTHROPIC, CHAT, Counts, say, think, tool

_FAILURES = {
    "overflow": Status(
        400,
        {"error": {"message": "This model's maximum context length is 8 tokens. However, your "
                   "messages resulted in 5031 tokens.", "code": "context_length_exceeded"}},
    ),
    "refuse": Status(401, {"error": {"message": "Incorrect key", "code": "invalid_api_key"}}),
    "slow": Status(429, {"error": {"message": "slow down"}}, {"retry-after": "2"}),
}  # fmt: skip


def answer(seen: Seen) -> Scene | Status:
    """Return what the last message requests: a failure, a call, a long table, or short text."""
    if seen.json is None:  # LiteLLM probes the host
        return Status(404)
    wire = ANTHROPIC if seen.path.endswith("/messages") else CHAT
    asked: Any = str(seen.json["messages"][-1]["content"])
    for word, failure in _FAILURES.items():
        if word in asked:
            return failure
    if "table" in asked:
        return wire.scene(say(*["| "] * 200))
    if '"signature": "c2ln"' in json.dumps(seen.json["messages"]):
        return wire.scene(say("It came back."))
    if "call" in asked:
        return wire.scene(
            think("h", "m", signature="c2ln" if wire is ANTHROPIC else None), say("Hel", "lo"),
            tool("c1", "f", '{"x":', "1}"), stop="tool",
            counts=Counts(100, 20, cached=30, reasoning=4 if wire is CHAT else 0),
        )  # fmt: skip
    return wire.scene(think("hm"), say("Hel", "lo"), counts=Counts(100, 20))


if __name__ == "__main__":
    with Lab() as lab:
        lab.always = answer
        print(lab.url, flush=True)  # noqa: T201
        threading.Event().wait()
