"""Which model servers listen on this machine, told by what each of them alone would answer.

Only loopback is asked, all ports at once, only when somebody wants to know, and no key is sent:
nobody knows yet who listens there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..registry.routing import USUAL_ADDRESSES

PATIENCE = 0.4  # seconds for each answer; a port that nobody listens on costs none
LARGEST = 4 << 20  # bytes of an answer
# Where they listen unless they are told otherwise.
PORTS = {
    8080: "llama.cpp",
    11434: "Ollama",
    1234: "LM Studio",
    8000: "vLLM",
    4000: "LiteLLM proxy",
    9931: "llama.cpp",  # its desktop app
}
# LiteLLM's name of each, which begins the names of its models.
BACKENDS = {
    "llama.cpp": "llamafile",
    "Ollama": "ollama_chat",
    "LM Studio": "lm_studio",
    "vLLM": "hosted_vllm",
    "LiteLLM proxy": "litellm_proxy",
    "OpenAI-compatible": "hosted_vllm",
}
_USUAL = {**USUAL_ADDRESSES, "ollama_chat": "http://127.0.0.1:11434"}
_VARIABLES = ("LLAMAFILE", "OLLAMA", "LM_STUDIO", "HOSTED_VLLM", "LITELLM_PROXY")
_ASKED: Sequence[str] = (
    "/",
    "/v1/models",
    "/api/tags",
    "/api/v0/models",
    "/health/liveliness",
    "/props",
)


@dataclass
class Served:
    """A model of a server: `name` is what `-m` takes, `context` its tokens, if they are told."""

    name: str
    context: int | None = None

    def __post_init__(self) -> None:
        if type(self.context) is not int or self.context <= 0:
            self.context = None


@dataclass
class Server:
    """A server: what it is, where, its models; `api_base` is needed where it is not usual."""

    kind: str
    address: str
    api_base: str | None = None
    models: list[Served] = field(default_factory=list)
    problem: str = ""

    def options(self, model: Served) -> str:
        """What to write to ask a model of it: `-m …`, and where it is."""
        base = f" --api-base {self.api_base}" if self.api_base else ""
        return f"-m {shlex.quote(model.name)}{base}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)


def discover(ports: Iterable[int] = ()) -> list[Server]:
    """The servers of this machine, on the usual ports, those of the environment, and `ports`."""
    return asyncio.run(_discover(list(dict.fromkeys([*ports, *_named(), *PORTS]))))


def _named() -> Iterator[int]:
    """Ports of loopback that the variables of servers name."""
    for name in _VARIABLES:
        parts = urlsplit(os.environ.get(f"{name}_API_BASE", ""))
        if parts.hostname in ("127.0.0.1", "localhost") and parts.port:
            yield parts.port


async def _discover(ports: list[int]) -> list[Server]:
    import httpx

    # No proxy of the environment's, no redirect: nothing but loopback is spoken to.
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        found = await asyncio.gather(*(_look(client, port) for port in ports))
    return [server for server in found if server is not None]


@dataclass
class _Answer:
    """What came of one request. No answer has the status 0."""

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
        """The objects of a list in it."""
        listed = self.json.get(key)
        return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


async def _look(client: Any, port: int) -> Server | None:
    try:  # first whether anybody listens, so that a dead port costs one refusal
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
    except (OSError, TimeoutError):
        return None
    address = f"http://127.0.0.1:{port}"
    answers = await asyncio.gather(*(_get(client, f"{address}{path}") for path in _ASKED))
    told = dict(zip(_ASKED, answers, strict=True))
    kind = _kind(told)
    if not kind:
        return None
    if kind == "Ollama":
        models = await _of_ollama(client, address, told["/api/tags"])
    else:
        models = list(_models(kind, told))
    backend = BACKENDS[kind]
    base = address if kind in ("Ollama", "LiteLLM proxy") else f"{address}/v1"
    usual = _USUAL.get(backend) == base and not os.environ.get(f"{backend.upper()}_API_BASE")
    server = Server(kind, address, None if usual else base)
    server.models = [
        Served(f"{backend}/{name}", context) for name, context in models if isinstance(name, str)
    ]
    if not server.models:
        server.problem = _problem(told["/v1/models"])
    return server


async def _get(client: Any, url: str, body: Any = None) -> _Answer:
    import httpx

    method = "GET" if body is None else "POST"
    try:
        async with (
            asyncio.timeout(PATIENCE),
            client.stream(method, url, json=body) as response,
        ):
            pieces, size = [], 0
            async for piece in response.aiter_bytes():
                pieces.append(piece)
                size += len(piece)
                if size > LARGEST:
                    return _Answer()
            text = b"".join(pieces).decode("utf-8", "replace")
            return _Answer(response.status_code, text, response.headers.get("server", ""))
    except (httpx.HTTPError, OSError, TimeoutError):
        return _Answer()


def _kind(told: dict[str, _Answer]) -> str:
    """Which server answers so; nothing: none that is known."""
    listed = told["/v1/models"]
    owners = {str(entry.get("owned_by")) for entry in listed.entries("data")}
    if "llamacpp" in owners or "llama.cpp" in listed.server:
        return "llama.cpp"
    if "Ollama is running" in told["/"].text:
        return "Ollama"
    if told["/api/v0/models"].entries("data"):
        return "LM Studio"
    if "vllm" in owners:
        return "vLLM"
    if told["/health/liveliness"].status == 200 and "alive" in told["/health/liveliness"].text:
        return "LiteLLM proxy"
    if listed.entries("data") or listed.status in (401, 403):
        return "OpenAI-compatible"
    return ""


def _models(kind: str, told: dict[str, _Answer]) -> Iterator[tuple[Any, Any]]:
    """The ids of a server's models, and their contexts."""
    if kind == "LM Studio":
        for entry in told["/api/v0/models"].entries("data"):
            if entry.get("type") != "embeddings":
                yield (
                    entry.get("id"),
                    entry.get("loaded_context_length") or entry.get("max_context_length"),
                )
        return
    settings = told["/props"].json.get("default_generation_settings")
    context = settings.get("n_ctx") if isinstance(settings, dict) else None
    for entry in told["/v1/models"].entries("data"):
        yield entry.get("id"), entry.get("max_model_len") or context


async def _of_ollama(client: Any, address: str, tags: _Answer) -> list[tuple[Any, Any]]:
    names = [entry.get("name") for entry in tags.entries("models")]
    shown = await asyncio.gather(
        *(_get(client, f"{address}/api/show", {"model": name}) for name in names)
    )
    return [(name, _context_of(answer.json)) for name, answer in zip(names, shown, strict=True)]


def _context_of(shown: dict[str, Any]) -> Any:
    about = shown.get("model_info")
    about = about if isinstance(about, dict) else {}
    return next((value for key, value in about.items() if key.endswith(".context_length")), None)


def _problem(listed: _Answer) -> str:
    if listed.status in (401, 403):
        return "needs a key"
    if listed.status == 503:
        return "is still loading its model"
    if listed.status == 0:
        return "did not list its models in time"
    return "has no model"
