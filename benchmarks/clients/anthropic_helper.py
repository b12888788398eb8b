"""Anthropic's SDK with its helper, which keeps a partial message with parsed arguments."""

import anthropic

PACKAGE = "anthropic"
client = None


async def astream(base, wire, model, tools):
    global client
    client = client or anthropic.AsyncAnthropic(base_url=base, api_key="k", max_retries=0)
    tool_options = {}
    if tools:
        tool_options["tools"] = [{"name": "f", "input_schema": tools[0]["function"]["parameters"]}]
    request = client.messages.stream(
        model=model, max_tokens=9, messages=[{"role": "user", "content": "q"}], **tool_options
    )
    async with request as events:
        async for event in events:
            if event.type == "text":
                yield "text", event.text
            elif event.type == "thinking":
                yield "thinking", event.thinking
            elif event.type == "input_json":
                yield "tool", event.partial_json
