"""pi-ai-python, with a custom provider."""

from pi_ai import Context, Model, Tool, UserMessage, create_models, create_provider
from pi_ai.api.registry import anthropic_messages_api, openai_completions_api
from pi_ai.auth.helpers import env_api_key_auth
from pi_ai.auth.types import ProviderAuth

PACKAGE = "pi-ai-python"
APIS = {
    "chat": ("openai-completions", openai_completions_api, "/v1"),
    "anthropic": ("anthropic-messages", anthropic_messages_api, ""),
}
KINDS = {"text_delta": "text", "thinking_delta": "thinking", "toolcall_delta": "tool"}
models = create_models()
for api, make, _ in APIS.values():
    auth = ProviderAuth(api_key=env_api_key_auth("lab", ["LAB_API_KEY"]))
    models.set_provider(create_provider(id=api, auth=auth, api=make()))


async def astream(base, wire, model, tools):
    api, _, path = APIS[wire]
    pi_model = Model(id=model, api=api, provider=api, base_url=base + path)
    context = Context(
        [UserMessage("q")], tools=[Tool(**tool["function"]) for tool in tools] or None
    )
    async for event in models.stream(pi_model, context, api_key="k"):
        if kind := KINDS.get(event.type):
            yield kind, event.delta
        elif event.type == "error":
            raise RuntimeError(event.error.error_message)
