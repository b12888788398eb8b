"""The way to each model of the catalogue, against the table that was checked on the wire, and on
the wire itself."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections import Counter, defaultdict
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from pipy_ai import Tool, apreview, complete, ctx, get_registry, preview
from pipy_ai._requests import build_request
from pipy_ai.provider.request import Preview
from pipy_ai.registry.index import models_in_feed, providers_in_feed
from pipy_ai.registry.routing import Route, build_route, expand_url

from .feeds import feed, routes
from .wire.lab import DONE, Lab, chunk, sse
from .wire.wires import ANTHROPIC, CHAT, GEMINI, RESPONSES, Wire, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

TOOL = Tool(
    name="f",
    description="d",
    parameters={"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]},
)
HOSTS = providers_in_feed(feed())
RECORDS, _ = models_in_feed(feed())

# Where ours differs from the table, and why.
BETTER = {
    "sakana": "its models say `shape: responses` themselves; a new one that does not is generic",
    "vivgrid": "its models say so themselves; the provider speaks Responses",
    "google-vertex": "its open models want Google's login, too, which a generic route has not",
    "bailing": "the table's address is already a whole one; ours leaves the end to LiteLLM",
    "azure": "the table has the address among the parameters",
    "azure-cognitive-services": "the table has the address among the parameters",
    "cloudflare-ai-gateway": "the table has it in a note",
    "amazon-bedrock": "a secret that belongs to another is no key of its own",
}


@pytest.mark.parametrize("provider", sorted(HOSTS))
def test_the_way_is_the_tables(provider: str) -> None:
    table = routes()[provider]
    way = build_route(HOSTS[provider], "X")
    rules: Counter[str] = Counter()
    for name, record in RECORDS.items():
        if name.partition("/")[0] == provider:
            text = "text" in record["modalities"]["output"]
            one = build_route(HOSTS[provider], record["id"], record)
            rules[one.kind if text else "non_text"] += 1
    prefix = table.get("litellm_prefix")
    ours = {
        "rule": way.kind,
        "rules": dict(rules),
        "base": way.api_base,
        "model": way.model if prefix else None,
    }
    theirs = {
        "rule": table["rule"],
        "rules": table["rules"],
        "base": table.get("api_base") or "",
        "model": f"{prefix}/X" if prefix else None,
    }
    if provider in BETTER:
        assert ours != theirs or set(table["key_env"]) - set(way.key_env), "no longer an exception"
    else:
        assert ours == theirs
        assert set(table["key_env"]) <= set(way.key_env)
        wanted = set(way.required_env) | {
            v for text in way.parameters.values() for v in _variables(text)
        }
        assert way.kind == "local" or set(table["other_env"]) <= wanted


def _variables(text: str) -> list[str]:
    return [part.partition("}")[0] for part in text.split("${")[1:]]


@pytest.mark.parametrize(
    ("template", "value", "said"),
    [
        ("https://${V}/v1", "acme.example", "https://acme.example/v1"),
        ("https://${V}/v1", "https://acme.example/", "https://acme.example/v1"),
        ("${V}/v1", "https://acme.example", "https://acme.example/v1"),
        ("${V}/v1", "acme.example/", "https://acme.example/v1"),
        ("https://x/${V}/ai/v1", "0a1b", "https://x/0a1b/ai/v1"),
        ("https://x/v1/", "", "https://x/v1"),
        ("", "", ""),
    ],
)
def test_addresses(template: str, value: str, said: str) -> None:
    assert expand_url(template, {"V": value}) == said


def test_what_is_missing_is_told() -> None:
    way = build_route(HOSTS["cloudflare-workers-ai"], "m")
    assert way.missing_variables({}) == ["CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_KEY"]
    message = complete("cloudflare-workers-ai/@cf/openai/gpt-oss-120b", "q")
    assert message.error is not None
    assert message.error.kind == "missing_key"
    assert "CLOUDFLARE_ACCOUNT_ID" in message.error.message
    message = complete("togetherai/openai/gpt-oss-120b", "q")
    assert message.error is not None
    assert "TOGETHER_API_KEY or" in message.error.message


@pytest.mark.parametrize("model", ["gitlab/duo-chat-opus-4-5", "sap-ai-core/gpt-5"])
def test_no_way_is_said_clearly(july: Any, model: str) -> None:
    message = complete(model, "q", api_key="k")
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert len(message.error.message) > 30


# --- Every model ----------------------------------------------------------------------------


def test_a_request_can_be_made_for_every_text_model(
    july: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 5,117, offline: the URL is the provider's, id and tools are there, thinking is on."""
    registry = get_registry()
    names = registry.query(output_modality="text")
    assert len(names) == 5117
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-0123456789")

    async def look() -> dict[str, Preview]:
        return {name: await apreview(name, _context(name), **_options(name)) for name in names}

    shown = asyncio.run(look())
    unseen = Counter(
        registry.route(registry.require(name)).backend
        for name, request in shown.items()
        if not request.url
    )
    assert unseen == {  # left to LiteLLM's own clients, or without a way
        "azure": 181, "bedrock": 100, "vertex_ai": 46, "cohere_chat": 13, "bedrock_mantle": 5,
        "hosted_vllm": 93 + 17 + 26 + 23,
    }  # fmt: skip
    wrong = defaultdict(list)
    for name, request in shown.items():
        model = registry.require(name)
        if problem := _problem(request, model, registry.route(model)):
            wrong[problem].append(name)
    assert dict(wrong) == {}


def _context(name: str) -> Any:
    can = RECORDS[name].get("tool_call")
    return ctx("q", system="s", tools=[TOOL] if can else None)


def _options(name: str) -> Any:
    return {"reasoning": "high" if RECORDS[name].get("reasoning") else None, "max_tokens": 4000}


def _problem(request: Preview, model: Any, way: Route) -> str:
    if not request.url:
        if way.problem:
            return "" if request.warnings[0].code == "no_route" else "no reason given"
        return "" if request.body["model"] == way.model else "another model"
    body, url = request.body, request.url
    names = {name: name for name in way.required_env}
    if not url.lower().startswith((expand_url(way.api_base, names) or "https://").lower()):
        return "another address"
    if bool(way.required_env) != any(w.code == "missing_variable" for w in request.warnings):
        return "what is missing is not told"
    if "openai.com" in url and model.provider != "openai":
        return "sent to OpenAI"
    if "sk-openai" in repr(request.headers):
        return "the key is shown"
    if way.backend == "gemini":
        return "" if f"/{model.id}:stream" in url else "another model"
    if body["model"] != model.id:
        return "another model"
    if model.capabilities.tool_call and len(body.get("tools", ())) != 1:
        return "no tool"
    unstreamed = model.qualified_name in ("openai/o1-pro", "openai/gpt-5-pro")  # they cannot
    if (body.get("stream") is True) == unstreamed:
        return "no stream"
    said = json.dumps(body)
    if '"q"' not in said or '"s"' not in said:
        return "not what was said"
    thinks = any(w.code in ("reasoning_ignored", "reasoning_changed") for w in request.warnings)
    words = ("reasoning", "thinking")
    if model.capabilities.reasoning and not thinks and not any(word in said for word in words):
        return "no word about thinking"
    return ""


# --- On the wire ----------------------------------------------------------------------------

SAMPLE: list[tuple[str, Wire]] = [
    # generic
    ("302ai/gpt-5-mini", CHAT),
    ("nano-gpt/zai-org/glm-4.7", CHAT),
    ("novita-ai/deepseek/deepseek-v3.2", CHAT),
    ("huggingface/MiniMaxAI/MiniMax-M2.1", CHAT),
    ("alibaba-cn/qwen-plus", CHAT),
    ("opencode/kimi-k2.5", CHAT),
    ("wafer.ai/Qwen3.5-397B-A17B", CHAT),
    ("bailing/Ling-1T", CHAT),
    # native
    ("openai/gpt-4o", CHAT),
    ("groq/groq/compound", CHAT),
    ("openrouter/anthropic/claude-sonnet-4.5", CHAT),
    ("togetherai/openai/gpt-oss-120b", CHAT),
    ("deepseek/deepseek-chat", CHAT),
    ("zai/glm-4.7", CHAT),
    ("vercel/openai/gpt-4o", CHAT),
    ("moonshotai/kimi-k2.5", CHAT),
    ("xai/grok-4.3", CHAT),
    ("cerebras/zai-glm-4.7", CHAT),
    ("mistral/mistral-large-latest", CHAT),
    ("anthropic/claude-sonnet-4-5", ANTHROPIC),
    ("google/gemini-2.5-flash", GEMINI),
    ("openai/gpt-5-codex", RESPONSES),
    # the other protocols of compatible hosts
    ("minimax/MiniMax-M2.1", ANTHROPIC),
    ("opencode/claude-sonnet-4-5", ANTHROPIC),
    ("zenmux/anthropic/claude-sonnet-4.5", ANTHROPIC),
    ("opencode/gemini-3-flash", GEMINI),
    ("opencode/gpt-5", RESPONSES),
    ("perplexity-agent/anthropic/claude-sonnet-4-5", RESPONSES),
    # templates, servers of one's own, and what needs more than a key
    ("cloudflare-workers-ai/@cf/openai/gpt-oss-120b", CHAT),
    ("databricks/databricks-gpt-5", CHAT),
    ("lmstudio/openai/gpt-oss-20b", CHAT),
    ("cloudflare-ai-gateway/openai/gpt-4o", CHAT),
]


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize(("name", "wire"), SAMPLE, ids=[name for name, _ in SAMPLE])
def test_the_bytes_on_the_wire(
    lab: Lab, july: Any, name: str, wire: Wire, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes to the provider's path with its id, its key only, and the tool."""
    registry = get_registry()
    model = registry.model(name)
    assert model is not None, name
    way = registry.route(model)
    for variable in {
        v for host in registry.providers().values() for v in build_route(host, "").key_env
    }:
        monkeypatch.setenv(variable, f"foreign-{variable}")
    for variable in way.required_env:
        monkeypatch.setenv(variable, "some-value")
    for variable in way.key_env:
        monkeypatch.setenv(variable, "own-key-0123456789")
    prompt = ctx("What?", system="Brief.", tools=[TOOL])
    _send_to(lab, monkeypatch)
    lab.play(wire.scene(say("ok")))
    monkeypatch.setenv("PIPY_TRANSPORT", transport)
    message = complete(name, prompt, max_tokens=500)
    assert message.error is None, message.error
    assert (message.text, message.api) == ("ok", wire.api)
    assert (message.provider, message.model) == tuple(name.split("/", 1))
    [seen] = lab.seen
    path = expand_url(way.api_base).partition("://")[2].partition("/")[2]
    assert seen.path.startswith(f"/{path}"), seen.path
    everything = json.dumps(seen.json) + json.dumps(seen.headers) + seen.path
    assert "own-key-0123456789" in everything or way.key_optional
    assert "foreign-" not in everything
    if wire is GEMINI:
        assert f"/models/{model.id}:streamGenerateContent" in seen.path
        [declared] = next(iter(seen.json["tools"][0].values()))
    else:
        assert seen.json["model"] == model.id
        [declared] = seen.json["tools"]
    assert '"f"' in json.dumps(declared)
    assert "What?" in everything
    assert "Brief." in everything
    if name.startswith("cloudflare-ai-gateway"):
        assert seen.headers["cf-aig-authorization"] == "Bearer own-key-0123456789"
        assert "authorization" not in seen.headers


def _send_to(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every request go to the laboratory instead, with its own path."""
    from pipy_ai.provider import exchange as sender

    send = sender.send

    async def redirected(call: Any) -> Any:
        own = urlsplit(call.url)
        call.url = urlunsplit(own._replace(scheme="http", netloc=urlsplit(lab.url).netloc))
        return await send(call)

    monkeypatch.setattr(sender, "send", redirected)


# --- Warnings and names ---------------------------------------------------------------------


def test_an_unknown_model_is_asked_all_the_same(lab: Lab, july: Any) -> None:
    request = build_request("openai/gpt-99", "q", None, {})
    assert [w.code for w in request.warnings] == ["unknown_model"]
    assert "not known" in request.warnings[0].message
    lab.play(sse(chunk({"content": "ok"}), chunk({}, finish_reason="stop"), DONE))
    message = complete("openai/gpt-99", "q", api_base=lab.url, api_key="k")
    assert (message.text, message.warnings) == ("ok", [])
    assert lab.seen[0].json["model"] == "gpt-99"
    for own in ("hosted_vllm/m", "ollama_chat/m", "lmstudio/m"):
        assert build_request(own, "q", None, {}).warnings == []


def test_a_bare_name_will_do(lab: Lab, july: Any) -> None:
    lab.play(sse(chunk({"content": "ok"}), chunk({}, finish_reason="stop"), DONE))
    message = complete("gpt-4o", "q", api_base=lab.url, api_key="k")
    assert (message.provider, message.model) == ("openai", "gpt-4o")
    with pytest.raises(ValueError, match="may mean"):
        complete("meta-llama/llama-3.3-70b-instruct", "q")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        request = build_request("mixlayer/qwen/qwen3.5-9b", "q", None, {})
    assert request.record is not None


def test_openais_newer_models_speak_responses(july: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipy_ai.provider.prepare import style_of

    def style(name: str, **options: Any) -> str:
        return style_of(build_request(name, "q", None, options))

    assert style("openai/gpt-4o") == style("openai/gpt-5") == "chat"
    assert style("openai/gpt-5.4") == style("openai/gpt-5-codex") == style("openai/o3-pro")
    assert style("openai/gpt-5.4") == "responses"
    assert style("openai/responses/gpt-4o") == "responses"
    assert style("openai/gpt-5.4", api_base="http://gateway/v1") == "chat"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway/v1")
    assert style("openai/gpt-5.4") == "chat"


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("hosted_vllm", "http://127.0.0.1:8000/v1"), ("lm_studio", "http://127.0.0.1:1234/v1"),
        ("llamafile", "http://127.0.0.1:8080/v1"), ("litellm_proxy", "http://127.0.0.1:4000"),
    ],
)  # fmt: skip
def test_a_server_of_ones_own_is_where_it_usually_listens_or_where_one_says(
    name: str, usual: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{name.upper()}_API_BASE"
    monkeypatch.delenv(variable, raising=False)
    assert preview(f"{name}/m", "q").url == f"{usual}/chat/completions"
    monkeypatch.setenv(variable, "http://gpu.lan:9/v1")
    assert preview(f"{name}/m", "q").url == "http://gpu.lan:9/v1/chat/completions"
    base = "http://other.lan/v1"
    assert preview(f"{name}/m", "q", api_base=base).url == f"{base}/chat/completions"
