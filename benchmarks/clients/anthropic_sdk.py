"""Anthropic's SDK: its events, without the helper that accumulates them."""

import anthropic

PACKAGE = "anthropic"
client = None


async def astream(base, wire, model, tools):
    global client
    client = client or anthropic.AsyncAnthropic(base_url=base, api_key="k", max_retries=0)
    tool_options = {}
    if tools:
        tool_options["tools"] = [{"name": "f", "input_schema": tools[0]["function"]["parameters"]}]
    events = await client.messages.create(
        model=model,
        max_tokens=9,
        stream=True,
        messages=[{"role": "user", "content": "q"}],
        **tool_options,
    )
    async for event in events:
        if event.type == "content_block_delta":
            delta = event.delta
            if delta.type == "text_delta":
                yield "text", delta.text
            elif delta.type == "thinking_delta":
                yield "thinking", delta.thinking
            elif delta.type == "input_json_delta":
                yield "tool", delta.partial_json
