"""LiteLLM."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # do not download prices
os.environ["REPEATED_STREAMING_CHUNK_LIMIT"] = "1000000000"  # the benchmark repeats one word

import litellm

PACKAGE = "litellm"
litellm.suppress_debug_info = True


async def astream(base, wire, model, tools):
    # Without `_skip_mcp_handler`, some versions fail every call with tools on a plain install.
    tool_options = {"tools": tools, "_skip_mcp_handler": True} if tools else {}
    chunks = await litellm.acompletion(
        model=f"hosted_vllm/{model}", api_base=base + "/v1", api_key="k", stream=True,
        messages=[{"role": "user", "content": "q"}], max_retries=0, **tool_options,
    )  # fmt: skip
    async for chunk in chunks:
        for choice in chunk.choices:
            delta = choice.delta
            if delta.tool_calls:
                yield "tool", delta.tool_calls[0].function.arguments or ""
            elif delta.content:
                yield "text", delta.content
            elif thought := getattr(delta, "reasoning_content", None):
                yield "thinking", thought
