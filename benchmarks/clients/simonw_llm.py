"""simonw/llm as a library, with the models as `extra-openai-models.yaml` defines them."""

import llm
from llm.default_plugins.openai_models import AsyncChat, Chat

PACKAGE = "llm"
KINDS = {"text": "text", "reasoning": "thinking", "tool_call_args": "tool"}


def start_prompt(model_class, base, model, tools):
    chat_model = model_class(
        model_id=model, model_name=model, api_base=base + "/v1", supports_tools=True
    )
    chat_model.needs_key = None
    tool_definitions = [
        llm.Tool(name="f", description="d", input_schema=tool["function"]["parameters"])
        for tool in tools
    ]
    return chat_model.prompt("q", tools=tool_definitions)


def stream(base, wire, model, tools):
    for event in start_prompt(Chat, base, model, tools).stream_events():
        if kind := KINDS.get(event.type):
            yield kind, event.chunk


async def astream(base, wire, model, tools):
    async for event in start_prompt(AsyncChat, base, model, tools).astream_events():
        if kind := KINDS.get(event.type):
            yield kind, event.chunk
