"""Which batch API a request goes to."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import ErrorKind, ProviderError, error_info
from ..provider.apis import ANTHROPIC, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from ..provider.registered import registered_provider
from ..provider.request import Request
from ..provider.transport import direct_wire
from ..provider.wire import Wire
from .client import BatchClient
from .vendor import Vendor

SUPPORTED = ("anthropic", "azure", "google", "groq", "mistral", "openai")


async def connect(request: Request) -> tuple[BatchClient, Vendor]:
    """Return a client and the batch API for the model of a request. Nothing is sent.

    Raises:
        ProviderError: The provider has no batch API that pipy-ai supports, or its key is missing.
    """
    wire = None
    if registered_provider(request.provider) is None and request.provider in SUPPORTED:
        wire = direct_wire(request)
    if wire is None:
        raise _unsupported_error(request)
    client = BatchClient(request, wire)
    await client.connect()
    vendor = _vendor(client, request, wire)
    if vendor is None:
        raise _unsupported_error(request)
    return client, vendor


def _vendor(client: BatchClient, request: Request, wire: Wire) -> Vendor | None:
    path, suffix = urlsplit(client.url).path, wire.url_suffix
    if not path.endswith(suffix):
        return None
    provider, is_openai = request.provider, wire.api in (OPENAI_CHAT, OPENAI_RESPONSES)
    if provider == "anthropic" and wire.api == ANTHROPIC:
        from .anthropic import AnthropicBatches

        return AnthropicBatches()
    if provider == "google" and wire.api == GEMINI:
        from .gemini import GeminiBatches

        return GeminiBatches()
    if provider == "mistral" and wire.api == OPENAI_CHAT:
        from .mistral import MistralBatches

        return MistralBatches(request.model_id)
    if not is_openai or provider not in ("azure", "groq", "openai"):
        return None
    if provider == "azure" and not path.endswith(f"/openai/v1{suffix}"):
        return None  # an older API, in which the address names the deployment
    from .openai import OpenAIBatches

    is_azure_chat = provider == "azure" and wire.api == OPENAI_CHAT
    return OpenAIBatches(suffix if is_azure_chat else f"/v1{suffix}", suffix)


def _unsupported_error(request: Request) -> ProviderError:
    text = (
        f"pipy-ai does not support batches at half price for {request.model}, only for"
        f" {', '.join(SUPPORTED)}, with the direct transport. At the normal price, use"
        " `complete_many`, or `pipy batch` without `--batch-api`."
    )
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))
