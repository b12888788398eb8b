"""simonw/llm as a library, with the models that `extra-openai-models.yaml` makes."""

import llm
from llm.default_plugins.openai_models import AsyncChat, Chat

PACKAGE = "llm"
KINDS = {"text": "text", "reasoning": "thinking", "tool_call_args": "tool"}


def prompt(make, base, model, tools):
    asked = make(model_id=model, model_name=model, api_base=base + "/v1", supports_tools=True)
    asked.needs_key = None
    offered = [
        llm.Tool(name="f", description="d", input_schema=tool["function"]["parameters"])
        for tool in tools
    ]
    return asked.prompt("q", tools=offered)


def stream(base, wire, model, tools):
    for event in prompt(Chat, base, model, tools).stream_events():
        if kind := KINDS.get(event.type):
            yield kind, event.chunk


async def astream(base, wire, model, tools):
    async for event in prompt(AsyncChat, base, model, tools).astream_events():
        if kind := KINDS.get(event.type):
            yield kind, event.chunk
