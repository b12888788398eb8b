"""Mozilla's any-llm."""

from any_llm import acompletion

PACKAGE = "any-llm-sdk"


async def astream(base, wire, model, tools):
    tool_options = {"tools": tools} if tools else {}
    chunks = await acompletion(
        model=model, provider="openai", api_base=base + "/v1", api_key="k", stream=True,
        messages=[{"role": "user", "content": "q"}], **tool_options,
    )  # fmt: skip
    async for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            if delta.tool_calls:
                yield "tool", delta.tool_calls[0].function.arguments or ""
            elif delta.content:
                yield "text", delta.content
            elif delta.reasoning and delta.reasoning.content:
                yield "thinking", delta.reasoning.content
