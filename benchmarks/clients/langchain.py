"""LangChain's ChatOpenAI: its chunks, without adding them up."""

from langchain_openai import ChatOpenAI

PACKAGE = "langchain-openai"
chat_models = {}


async def astream(base, wire, model, tools):
    if model not in chat_models:
        chat_models[model] = ChatOpenAI(
            model=model, base_url=base + "/v1", api_key="k", max_retries=0
        )
    chat_model = chat_models[model].bind_tools(tools) if tools else chat_models[model]
    async for chunk in chat_model.astream("q"):
        if chunk.tool_call_chunks:
            yield "tool", chunk.tool_call_chunks[0]["args"] or ""
        elif chunk.content:
            yield "text", chunk.content
        elif thought := chunk.additional_kwargs.get("reasoning_content"):
            yield "thinking", thought
