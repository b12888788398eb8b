"""LangChain's ChatOpenAI: its chunks, without adding them up."""

from langchain_openai import ChatOpenAI

PACKAGE = "langchain-openai"
models = {}


async def astream(base, wire, model, tools):
    if model not in models:
        models[model] = ChatOpenAI(model=model, base_url=base + "/v1", api_key="k", max_retries=0)
    asked = models[model].bind_tools(tools) if tools else models[model]
    async for chunk in asked.astream("q"):
        if chunk.tool_call_chunks:
            yield "tool", chunk.tool_call_chunks[0]["args"] or ""
        elif chunk.content:
            yield "text", chunk.content
        elif thought := chunk.additional_kwargs.get("reasoning_content"):
            yield "thinking", thought
