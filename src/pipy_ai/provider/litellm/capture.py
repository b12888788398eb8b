"""An HTTP client for LiteLLM that captures the request instead of sending it.

LiteLLM's `client=` argument takes any client. This one raises the request as `CapturedRequest`, a
`BaseException`, so that no `except Exception` in LiteLLM handles it as a failure. `litellm` is not
imported here: its classes are passed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from ..credentials import DEFAULT_OPENAI_URL, PLACEHOLDER_KEY, openai_base_url
from ..http.client import HTTPRequest
from ..wire import Wire
from ..wires import wire_for_url

# Headers that belong to a connection or to an SDK, not to the request.
_CONNECTION_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "keep-alive"}
)
_OPENAI_HEADERS = frozenset({"openai-organization", "openai-project"})


class CapturedRequest(BaseException):
    """The request that LiteLLM was about to send, and the wire that decodes its response."""

    def __init__(self, request: httpx.Request, content: bytes, wire: Wire | None) -> None:
        super().__init__(str(request.url.host))
        self.request = request
        self.content: bytes = content
        self.wire = wire

    def patch_body(self, fields: Mapping[str, Any]) -> None:
        """Set fields of the JSON body."""
        if fields:
            self.content = json.dumps({**json.loads(self.content), **fields}).encode()

    def to_http_request(
        self, user_agent: str, to_openai: bool, key_header: str = ""
    ) -> HTTPRequest:
        """Return the request for our own client.

        OpenAI's account headers are kept only for requests `to_openai`. `key_header` replaces
        `Authorization`.
        """
        headers = [
            (name, value)
            for name, value in self.request.headers.multi_items()
            if (key := name.lower()) not in _CONNECTION_HEADERS
            and not key.startswith("x-stainless-")
            and (to_openai or key not in _OPENAI_HEADERS)
        ]
        current_agent = self.request.headers.get("user-agent", "")
        if current_agent.startswith(("litellm", "AsyncOpenAI", "OpenAI", "python-httpx")):
            headers = [(n, v) for n, v in headers if n.lower() != "user-agent"]
            headers.append(("user-agent", user_agent))
        if key_header:
            headers = [(key_header if n.lower() == "authorization" else n, v) for n, v in headers]
        return HTTPRequest(self.request.method, str(self.request.url), headers, self.content)


class _CapturingTransport(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise CapturedRequest(request, await request.aread(), wire_for_url(str(request.url)))


_http_client: httpx.AsyncClient | None = None
_client_class: Any = None


def capturing_client(
    litellm: Any, handler: Any, arguments: dict[str, Any], api_key: str | None
) -> Any:
    """A client for one call, accepted by LiteLLM's own HTTP handler and by the OpenAI SDK."""
    global _http_client, _client_class
    if _http_client is None:
        _http_client = httpx.AsyncClient(transport=_CapturingTransport())
    http_client = _http_client
    if _client_class is None:
        _client_class = _make_client_class(handler)

    def make_sdk_client() -> Any:
        from importlib import import_module

        _, provider, _, base_url = litellm.get_llm_provider(
            model=arguments["model"], api_base=arguments.get("api_base"), api_key=api_key
        )
        if base_url is None:
            base_url = openai_base_url() if provider == "openai" else DEFAULT_OPENAI_URL
        return import_module("openai").AsyncOpenAI(
            api_key=api_key or PLACEHOLDER_KEY,
            base_url=base_url,
            http_client=http_client,
            max_retries=0,
        )

    return _client_class(http_client, make_sdk_client)


def _make_client_class(handler: Any) -> Any:
    class CapturingClient(handler):  # type: ignore[misc]
        def __init__(
            self, http_client: httpx.AsyncClient, make_sdk_client: Callable[[], Any]
        ) -> None:
            self.client = http_client
            self.timeout = None
            self.event_hooks = None
            self._make_sdk = make_sdk_client
            self._sdk: Any = None

        def __getattr__(self, name: str) -> Any:  # attributes that only the OpenAI SDK's client has
            if name.startswith("__") or name in ("_sdk", "_make_sdk"):
                raise AttributeError(name)
            if self._sdk is None:
                self._sdk = self._make_sdk()
            return getattr(self._sdk, name)

        async def post(self, *args: Any, **kwargs: Any) -> Any:
            if "cast_to" in kwargs:  # the SDK's `post`, which newer versions of LiteLLM call
                return await self.__getattr__("post")(*args, **kwargs)
            return await super().post(*args, **kwargs)

        async def close(self) -> None:  # the HTTP client is shared
            pass

        def __del__(self) -> None:
            pass

    return CapturingClient
