"""OpenAI's SDK: its chunks, without the helper that accumulates them."""

import openai

PACKAGE = "openai"
client = None


async def astream(base, wire, model, tools):
    global client
    if client is None:
        client = openai.AsyncOpenAI(base_url=base + "/v1", api_key="k", max_retries=0)
    tool_options = {"tools": tools} if tools else {}
    chunks = await client.chat.completions.create(
        model=model, stream=True, messages=[{"role": "user", "content": "q"}], **tool_options
    )
    async for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            if delta.tool_calls:
                yield "tool", delta.tool_calls[0].function.arguments or ""
            elif delta.content:
                yield "text", delta.content
            elif thought := getattr(
                delta, "reasoning_content", None
            ):  # present, but not in the type
                yield "thinking", thought
