"""pydantic-ai's direct interface, without an agent."""

from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import (
    ModelRequest,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

PACKAGE = "pydantic-ai-slim"
provider = None


async def astream(base, wire, model, tools):
    global provider
    provider = provider or OpenAIProvider(base_url=base + "/v1", api_key="k")
    tool_definitions = [
        ToolDefinition(name="f", parameters_json_schema=tool["function"]["parameters"])
        for tool in tools
    ]
    request = model_request_stream(
        OpenAIChatModel(model, provider=provider),
        [ModelRequest.user_text_prompt("q")],
        model_request_parameters=ModelRequestParameters(function_tools=tool_definitions),
    )
    async with request as events:
        async for event in events:
            if isinstance(event, PartDeltaEvent):
                delta = event.delta
                if isinstance(delta, TextPartDelta):
                    yield "text", delta.content_delta
                elif isinstance(delta, ThinkingPartDelta):
                    yield "thinking", delta.content_delta or ""
                elif isinstance(delta, ToolCallPartDelta):
                    yield "tool", delta.args_delta or ""
            elif isinstance(event, PartStartEvent):
                part = event.part
                if isinstance(part, TextPart):
                    yield "text", part.content
                elif isinstance(part, ThinkingPart):
                    yield "thinking", part.content
                elif isinstance(part, ToolCallPart):
                    yield "tool", part.args or ""
