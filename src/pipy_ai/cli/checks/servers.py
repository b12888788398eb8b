"""Find the model servers on this machine, recognized by responses that only they give.

Only loopback is probed, all ports at once and only on request. No key is sent, as anything could
be listening there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ...registry.ollama_address import environment_address
from ...registry.routing import litellm_route

PROBE_TIMEOUT_S = 0.4  # for each response; a closed port refuses at once
MAX_RESPONSE_BYTES = 4 << 20
# Default ports.
PORTS = {
    8080: "llama.cpp",
    11434: "Ollama",
    1234: "LM Studio",
    8000: "vLLM",
    4000: "LiteLLM proxy",
    9931: "llama.cpp",  # its desktop app
}
# LiteLLM's name of each kind, the prefix of its models' names.
BACKENDS = {
    "llama.cpp": "llamafile",
    "Ollama": "ollama",
    "LM Studio": "lm_studio",
    "vLLM": "hosted_vllm",
    "LiteLLM proxy": "litellm_proxy",
    "OpenAI-compatible": "hosted_vllm",
}
_VARIABLE_PREFIXES = ("LLAMAFILE", "LM_STUDIO", "HOSTED_VLLM", "LITELLM_PROXY")
_PROBE_PATHS: Sequence[str] = (
    "/",
    "/v1/models",
    "/api/tags",
    "/api/v0/models",
    "/health/liveliness",
    "/props",
)


@dataclass
class ServedModel:
    """A model of a server: the `name` for `-m`, and its `context` in tokens if that is known."""

    name: str
    context: int | None = None

    def __post_init__(self) -> None:
        if type(self.context) is not int or self.context <= 0:
            self.context = None


@dataclass
class Server:
    """A server and its models; `api_base` is set if it differs from the default of its kind."""

    kind: str
    address: str
    api_base: str | None = None
    models: list[ServedModel] = field(default_factory=list)
    problem: str = ""

    def model_flags(self, model: ServedModel) -> str:
        """Return the flags to use a model of the server: `-m …`, with `--api-base` if needed."""
        base = f" --api-base {self.api_base}" if self.api_base else ""
        return f"-m {shlex.quote(model.name)}{base}"

    def to_dict(self) -> dict[str, Any]:
        """Return the server as JSON data."""
        return asdict(self)


def discover(ports: Iterable[int] = ()) -> list[Server]:
    """Return the servers on the default ports, those of environment variables, and `ports`."""
    return asyncio.run(
        _discover_async(list(dict.fromkeys([*ports, *_ports_from_environment(), *PORTS])))
    )


def _ports_from_environment() -> Iterator[int]:
    """Yield the loopback ports in the base URLs of environment variables."""
    for prefix in _VARIABLE_PREFIXES:
        with contextlib.suppress(ValueError):  # no address, which the request will report
            url = urlsplit(os.environ.get(f"{prefix}_API_BASE", ""))
            if url.hostname in ("127.0.0.1", "localhost") and url.port:
                yield url.port
    with contextlib.suppress(ValueError):
        url = urlsplit(environment_address()[1])
        if url.hostname in ("127.0.0.1", "localhost", "::1"):
            yield url.port or 80


async def _discover_async(ports: list[int]) -> list[Server]:
    import httpx

    # Requests stay on loopback: proxy variables are ignored, redirects are not followed.
    async with httpx.AsyncClient(trust_env=False, timeout=PROBE_TIMEOUT_S) as client:
        servers = await asyncio.gather(*(_probe_port(client, port) for port in ports))
    return [server for server in servers if server is not None]


@dataclass
class _Response:
    """The response to one probe; its status is 0 if there was none."""

    status: int = 0
    text: str = ""
    server: str = ""

    @property
    def json(self) -> dict[str, Any]:
        try:
            data = json.loads(self.text) if self.status == 200 else None
        except (ValueError, RecursionError):
            data = None
        return data if isinstance(data, dict) else {}

    def entries(self, key: str) -> list[dict[str, Any]]:
        """Return the objects in a list of the response's JSON."""
        items = self.json.get(key)
        return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


async def _probe_port(client: Any, port: int) -> Server | None:
    try:  # connect first, so that a closed port costs one refusal instead of six
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
    except (OSError, TimeoutError):
        return None
    address = f"http://127.0.0.1:{port}"
    results = await asyncio.gather(*(_fetch(client, f"{address}{path}") for path in _PROBE_PATHS))
    responses = dict(zip(_PROBE_PATHS, results, strict=True))
    kind = _identify_server(responses)
    if not kind:
        return None
    if kind == "Ollama":
        models = await _ollama_models(client, address, responses["/api/tags"])
    else:
        models = list(_list_models(kind, responses))
    backend = BACKENDS[kind]
    base = address if kind in ("Ollama", "LiteLLM proxy") else f"{address}/v1"
    server = Server(kind, address, None if base == litellm_route(f"{backend}/m").api_base else base)
    server.models = [
        ServedModel(f"{backend}/{name}", context)
        for name, context in models
        if isinstance(name, str)
    ]
    if not server.models:
        server.problem = _problem_text(responses["/v1/models"])
    return server


async def _fetch(client: Any, url: str, body: Any = None) -> _Response:
    import httpx

    from ...utils.download import ACCEPT_ENCODING, is_decodable

    method = "GET" if body is None else "POST"
    try:
        async with (
            asyncio.timeout(PROBE_TIMEOUT_S),
            client.stream(method, url, json=body, headers=ACCEPT_ENCODING) as response,
        ):
            if not is_decodable(response):
                return _Response()
            chunks, size = [], 0
            async for chunk in response.aiter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_RESPONSE_BYTES:
                    return _Response()
            text = b"".join(chunks).decode("utf-8", "replace")
            return _Response(response.status_code, text, response.headers.get("server", ""))
    except (httpx.HTTPError, OSError, TimeoutError):
        return _Response()


def _identify_server(responses: dict[str, _Response]) -> str:
    """Return the kind of server that gives these responses, or an empty string."""
    model_list = responses["/v1/models"]
    owners = {str(entry.get("owned_by")) for entry in model_list.entries("data")}
    if "llamacpp" in owners or "llama.cpp" in model_list.server:
        return "llama.cpp"
    if "Ollama is running" in responses["/"].text:
        return "Ollama"
    if responses["/api/v0/models"].entries("data"):
        return "LM Studio"
    if "vllm" in owners:
        return "vLLM"
    if (
        responses["/health/liveliness"].status == 200
        and "alive" in responses["/health/liveliness"].text
    ):
        return "LiteLLM proxy"
    if model_list.entries("data") or model_list.status in (401, 403):
        return "OpenAI-compatible"
    return ""


def _list_models(kind: str, responses: dict[str, _Response]) -> Iterator[tuple[Any, Any]]:
    """Yield the ids of a server's models and their context sizes."""
    if kind == "LM Studio":
        for entry in responses["/api/v0/models"].entries("data"):
            if entry.get("type") != "embeddings":
                yield (
                    entry.get("id"),
                    entry.get("loaded_context_length") or entry.get("max_context_length"),
                )
        return
    settings = responses["/props"].json.get("default_generation_settings")
    context = settings.get("n_ctx") if isinstance(settings, dict) else None
    for entry in responses["/v1/models"].entries("data"):
        yield entry.get("id"), entry.get("max_model_len") or context


async def _ollama_models(client: Any, address: str, tags: _Response) -> list[tuple[Any, Any]]:
    names = [entry.get("name") for entry in tags.entries("models")]
    details = await asyncio.gather(
        *(_fetch(client, f"{address}/api/show", {"model": name}) for name in names)
    )
    return [
        (name, _context_length(answer.json)) for name, answer in zip(names, details, strict=True)
    ]


def _context_length(details: dict[str, Any]) -> Any:
    model_info = details.get("model_info")
    model_info = model_info if isinstance(model_info, dict) else {}
    return next(
        (value for key, value in model_info.items() if key.endswith(".context_length")), None
    )


def _problem_text(model_list: _Response) -> str:
    if model_list.status in (401, 403):
        return "needs a key"
    if model_list.status == 503:
        return "is still loading its model"
    if model_list.status == 0:
        return "did not list its models in time"
    return "has no model"
