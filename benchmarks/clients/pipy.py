"""pipy-ai with its direct transport."""

import pipy_ai

PACKAGE = "pipy-ai"
VERSION = pipy_ai.__version__  # of the measured source, not of an installed package
KINDS = {"text_delta": "text", "thinking_delta": "thinking", "toolcall_delta": "tool"}


def stream_arguments(base, wire, model, tools):
    if wire == "chat":
        name, base = f"hosted_vllm/{model}", base + "/v1"
    else:  # a custom host with Anthropic's API
        name = pipy_ai.Model(id=model, provider="lab", api=base, npm="@ai-sdk/anthropic")
    tool_definitions = [pipy_ai.Tool(**tool["function"]) for tool in tools]
    return (
        name,
        pipy_ai.ctx("q", tools=tool_definitions) if tool_definitions else "q",
        {"api_base": base, "api_key": "k"},
    )


def stream(base, wire, model, tools):
    name, context, options = stream_arguments(base, wire, model, tools)
    with pipy_ai.stream(name, context, **options) as events:
        for event in events:
            if kind := KINDS.get(event.type):
                yield kind, event.delta
        events.result().raise_for_error()


async def astream(base, wire, model, tools):
    name, context, options = stream_arguments(base, wire, model, tools)
    async with pipy_ai.astream(name, context, **options) as events:
        async for event in events:
            if kind := KINDS.get(event.type):
                yield kind, event.delta
        (await events.result()).raise_for_error()
