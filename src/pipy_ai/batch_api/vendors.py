"""Which batch API a request goes to."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import ErrorKind, ProviderError, error_info
from ..provider.apis import OPENAI_CHAT, OPENAI_RESPONSES
from ..provider.registered import registered_provider
from ..provider.request import Request
from ..provider.transport import direct_wire
from ..provider.wire import Wire
from .client import BatchClient
from .vendor import Vendor

SUPPORTED = ("groq", "openai")


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
    if wire.api not in (OPENAI_CHAT, OPENAI_RESPONSES):
        return None
    from .openai import OpenAIBatches

    path = urlsplit(client.url).path
    suffix = wire.url_suffix
    return OpenAIBatches(f"/v1{suffix}", suffix) if path.endswith(suffix) else None


def _unsupported_error(request: Request) -> ProviderError:
    text = (
        f"{request.model}: pipy-ai does not support batches at half price there. It does at"
        f" {', '.join(SUPPORTED)}, over direct transport."
        " `complete_many` sends the requests at once."
    )
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))
