"""Adapt a request to its model: conversation, options, address. Pure but for the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..options import SAMPLING_OPTIONS, CacheRetention
from ..registry.routing import expand_url
from ..types import AudioContent, FileContent, ImageContent, UserMessage, VideoContent, now_ms
from ..utils.surrogates import clean_surrogates
from .content import (
    UPLOAD_PROVIDERS,
    image_type_name,
    inline_media,
    is_remote_file,
    remote_media_type,
    unreadable_image_type,
)
from .conversation import Target, adapt_messages
from .credentials import check_headers, missing_key_error
from .finish import is_first_party_chat
from .profiles import CLAUDE, GEMINI_1_AND_2, OPENAI_MODELS, family_for
from .reasoning import plan_reasoning, thinks
from .request import PreparedRequest, ReasoningPlan, Request, bad_request_error
from .server_tools import add_server_tools
from .tool_definitions import adapt_tools, rename_choice, rename_tools
from .wire import OutputFallback, Wire


def prepare_request(request: Request, wire: Wire, preview: bool = False) -> PreparedRequest:
    """Prepare a request for an API. A preview warns where sending would fail.

    Raises:
        ProviderError: Only empty or failed messages are given, the model cannot
            be reached, or an environment variable that its address needs is not set.
    """
    options, profile = request.options, request.profile
    if request.route.problem and not options.api_base:
        if not preview:
            raise bad_request_error(request, request.route.problem)
        request.warn("no_route", request.route.problem)
    add_server_tools(request, wire)
    options = request.options
    image_types = profile.image_types or wire.image_types
    if not preview and (problem := unreadable_file_problem(request, wire)):
        raise bad_request_error(request, problem)
    plan = plan_reasoning(request, wire)
    thinking = thinks(request, plan)
    target = Target(
        provider=request.provider,
        model=request.model_id,
        api=wire.api if wire.strict_history else "",
        accepts_images=request.accepts_images,
        image_types=image_types,
        accepts_documents=request.accepts_documents,
        media_problem=partial(_media_problem, request=request, wire=wire),
        file_problem=partial(_stored_file_problem, request=request, wire=wire),
        signed_thinking=wire.signed_thinking or profile.signed_thinking,
        unsigned_thinking=_accepts_unsigned_thinking(request, wire),
        handoff_thinking=options.handoff_thinking,
        tool_call_ids=profile.tool_call_ids,
        signed_empty_text=wire.signed_empty_text,
        starts_with_user=wire.starts_with_user or request.alternating_roles,
        prefill=request.is_continuation
        or (profile.prefill and _accepts_prefill(request, thinking)),
        raw_api=wire.api if wire.replays_raw else "",
        raw_with_thinking=wire.raw_with_thinking,
    )
    messages = adapt_messages(request.context.messages, target, request.warn)
    if not messages:
        raise bad_request_error(request, "the conversation contains only empty or failed messages")
    tools = adapt_tools(request, wire)
    messages = rename_tools(messages, request, wire)
    system_prompt = request.context.system_prompt
    if system_prompt is not None and not system_prompt.strip():
        system_prompt = None  # Anthropic rejects blank text
    if system_prompt and not request.family.system_role:
        messages.insert(0, UserMessage(content=clean_surrogates(system_prompt), timestamp=0))
        system_prompt = None
    if options.service_tier and request.service_tier is None:
        tier = options.service_tier
        tier = tier if isinstance(tier, str) else tier[0]
        request.warn("option_ignored", f"{request.model} has no service tier {tier!r}")
    if other := sorted(set(options.modalities or ()) - wire.produces):
        text = f"answers of {request.model} are text only; modalities={other} has no effect"
        request.warn("option_ignored", text)
    headers = options.headers or {}
    extra = options.extra or {}
    check_headers(request, headers, extra.get("extra_headers"), {"api_key": extra.get("api_key")})
    if plan.budget_tokens and request.context.tools and wire.thinking.tools_beta:
        headers = merge_headers(headers, {"anthropic-beta": wire.thinking.tools_beta})
    cache_retention = (options.cache_retention or _default_cache_retention()).value
    cache_models = profile.cache_control_models
    sampling, stop = _resolve_sampling(request, wire, thinking)
    return PreparedRequest(
        messages=messages,
        system_prompt=clean_surrogates(system_prompt) if system_prompt else None,
        sampling=sampling,
        stop=stop,
        tool_choice=rename_choice(_resolve_tool_choice(request, wire, plan), request)
        if request.has_tools
        else None,
        reasoning=plan,
        cache_retention=cache_retention,
        cache_control=cache_retention != "none"
        and (
            wire.cache_control or bool(cache_models and cache_models.match(request.base_model_id))
        ),
        base_url=_resolve_base_url(request, preview),
        headers=merge_headers(headers),
        tools=tools,
    )


def unreadable_file_problem(request: Request, wire: Wire) -> str:
    """Return why a host cannot read a file of the newest user message; "" if it can.

    A file of an earlier turn, e.g. for another host, is omitted instead.
    """
    message = request.context.messages[-1] if request.context.messages else None
    if not isinstance(message, UserMessage) or isinstance(message.content, str):
        return ""
    problem = ""
    for part in message.content:
        match part:
            case ImageContent():
                problem = problem or _image_problem(part, request, wire)
            case AudioContent() | VideoContent():
                problem = problem or _media_problem(part, request, wire)
            case FileContent():
                problem = problem or _stored_file_problem(part, request, wire)
            case _:
                pass
    return problem


def _image_problem(image: ImageContent, request: Request, wire: Wire) -> str:
    if request.route.is_self_hosted and not request.profile.image_types:
        return ""  # vLLM, llama.cpp and others read what their image library reads
    image_types = request.profile.image_types or wire.image_types
    unreadable = unreadable_image_type(image, image_types)
    if not unreadable or request.accepts_images is False:
        return ""
    names = ", ".join(sorted(map(image_type_name, image_types)))
    return f"{request.model} does not read {unreadable} images, only {names}: convert it"


def _media_problem(media: AudioContent | VideoContent, request: Request, wire: Wire) -> str:
    """Return why a model cannot read audio or video; "" if it can."""
    from ..media import media_format

    kind = media.type
    if kind == "audio":
        accepted, types, urls = request.accepts_audio, wire.audio_types, wire.audio_urls
    else:
        accepted, types, urls = request.accepts_video, wire.video_types, wire.video_urls
    if accepted is False:
        return f"{request.model} does not take {kind}"
    if not types:
        return f"{request.model} does not take {kind} over {wire.title}"
    is_remote = is_remote_file(media)
    if is_remote and not (urls and urls.match(str(media.url))):
        return f"{request.provider} does not fetch {media.url}: pass the bytes of the {kind}"
    mime_type = remote_media_type(media) if is_remote else inline_media(media)[0]
    if mime_type in types or (mime_type and request.route.is_self_hosted):
        return ""
    if not mime_type:
        return f"the format of the {kind} is unknown: set its mime_type"
    names = ", ".join(sorted(media_format(name).upper() for name in types))
    unreadable = media_format(mime_type).upper()
    return f"{request.model} does not read {unreadable} {kind}, only {names}: convert it"


def _stored_file_problem(file: FileContent, request: Request, wire: Wire) -> str:
    """Return why a model cannot read a file that is stored at a provider; "" if it can."""
    name = file.name or file.id
    if file.provider != request.provider:
        again = "attach the file itself"
        if request.provider in UPLOAD_PROVIDERS:
            again = f"upload it again with upload(path, provider={request.provider!r})"
        return f"{name} is stored at {file.provider}, where {request.model} cannot read it: {again}"
    if file.expires_at is not None and file.expires_at <= now_ms():
        return f"{name} has expired at {file.provider}: upload it again"
    if wire.file_problem is None:
        return f"{request.model} does not take uploaded files over {wire.title}"
    kind = file.mime_type.partition("/")[0]
    accepted = {
        "image": request.accepts_images, "audio": request.accepts_audio,
        "video": request.accepts_video, "application/pdf": request.accepts_documents,
    }  # fmt: skip
    if accepted.get(kind, accepted.get(file.mime_type)) is False:
        return f"{request.model} does not take {file.mime_type}, the type of {name}"
    return wire.file_problem(file, request)


def _accepts_prefill(request: Request, thinking: bool) -> bool:
    """Return whether the model continues a final assistant message."""
    return request.family.prefill and not (thinking and CLAUDE.search(request.base_model_id))


def _accepts_unsigned_thinking(request: Request, wire: Wire) -> bool:
    record, profile = request.record, request.profile
    if wire.signed_thinking and CLAUDE.search(request.base_model_id):
        return False
    if profile.thinking_chunks or (record or {}).get("interleaved"):
        return True
    if profile.strict_fields or (record or {}).get("reasoning") is False:
        return False
    if wire.unsigned_thinking or request.family.unsigned_thinking:
        return True
    return record is None and profile.unsigned_thinking


def _resolve_sampling(
    request: Request, wire: Wire, thinking: bool
) -> tuple[dict[str, Any], str | list[str] | None]:
    """Return the sampling options and `stop` that API, host and model accept.

    Warn about the others.
    """
    sampling: dict[str, Any] = {}
    for name in (*SAMPLING_OPTIONS, "stop"):
        value = getattr(request.options, name)
        if value is None:
            continue
        if (rejection := _reject_sampling(request, wire, thinking, name, value)) is not None:
            request.warn(*rejection)
        else:
            sampling[name] = value
    family = family_for(request.base_model_id, wire.default_family)
    if family.one_of_temperature_and_top_p and {"temperature", "top_p"} <= sampling.keys():
        del sampling["top_p"]
        request.warn("top_p_ignored", "this model does not accept top_p together with temperature")
    maximum = min(family.max_temperature, request.profile.max_temperature)
    if sampling.get("temperature", 0) > maximum:
        text = f"this model does not accept temperature above {maximum:g}; that was sent"
        request.warn("temperature_changed", text)
        sampling["temperature"] = maximum
    return sampling, _accepted_stops(request, wire, sampling.pop("stop", None))


def _accepted_stops(
    request: Request, wire: Wire, stop: str | list[str] | None
) -> str | list[str] | None:
    """Return `stop` without blank and surplus values if the API or host rejects those."""
    stops = [stop] if isinstance(stop, str) else stop or []
    accepted = stops if wire.blank_stops else [text for text in stops if text.strip()]
    if len(accepted) < len(stops):
        blank = ", ".join(repr(text) for text in stops if not text.strip())
        request.warn("stop_ignored", f"stop {blank} was left out: {wire.title} rejects it")
    limit = wire.max_stops or request.profile.max_stops
    is_named_openai = request.provider == "openai" and not is_first_party_chat(request)
    if is_named_openai and not OPENAI_MODELS.search(request.base_model_id):
        limit = 0  # a model on a self-hosted server
    if limit and len(accepted) > limit:
        surplus = ", ".join(map(repr, accepted[limit:]))
        text = f"stop {surplus} was left out: {request.provider} takes at most {limit}"
        request.warn("stop_ignored", text)
        accepted = accepted[:limit]
    return stop if len(accepted) == len(stops) else accepted or None


def _reject_sampling(
    request: Request, wire: Wire, thinking: bool, name: str, value: Any
) -> tuple[str, str] | None:
    """Return code and text of the warning about an option that cannot be sent."""
    family, profile = family_for(request.base_model_id, wire.default_family), request.profile
    field = wire.sampling.get(name)
    if field is None:
        return "option_ignored", f"{wire.title} does not support {name}"
    if field in wire.extensions and profile.strict_fields:
        return "option_ignored", f"{request.provider} does not support {name}"
    code = f"{name}_ignored"
    fixed = profile.fixed_sampling
    if fixed and fixed.search(request.base_model_id.lower()) and name in ("temperature", "top_p"):
        return code, f"this model does not accept {name}"
    if value == 1 and name in ("temperature", "top_p"):  # the default
        return None
    if thinking and name in family.rejected_with_thinking:
        return code, f"this model does not accept {name} with thinking"
    if thinking and name == "top_p" and value < family.min_top_p_with_thinking:
        minimum = family.min_top_p_with_thinking
        return code, f"this model does not accept top_p below {minimum:g} with thinking"
    if name in profile.rejected_options:
        return code, f"{request.provider} does not accept {name}"
    if name in family.rejected_options:
        return code, f"this model does not accept {name}"
    if request.record is not None and request.record.get("temperature") is False:
        if name == "temperature":
            return code, "this model does not accept temperature"
        if name == "top_p":
            return code, "this model does not accept top_p, as it does not accept temperature"
    return None


def _resolve_tool_choice(
    request: Request, wire: Wire, plan: ReasoningPlan
) -> str | dict[str, Any] | None:
    choice = request.options.tool_choice
    if choice is None or _unforced(choice):
        return choice
    if (reason := forced_calls_problem(request, wire, plan)) is not None:
        request.warn("tool_choice_changed", f'{reason}; sent "auto"')
        return "auto"
    return choice


def _unforced(choice: str | dict[str, Any]) -> bool:
    """Return whether a tool choice lets the model decide whether to call a tool."""
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return kind in ("auto", "none")


def forced_calls_problem(request: Request, wire: Wire, plan: ReasoningPlan) -> str | None:
    """Return why a tool call cannot be forced; None: it can."""
    unforced = request.profile.unforced_models
    if request.profile.forced_calls == "never" or (
        unforced and unforced.search(request.base_model_id)
    ):
        return f"{request.provider} does not accept forced calls"
    if request.route.is_self_hosted:  # it forces calls with a grammar, for any model
        return None
    family = family_for(request.base_model_id, wire.default_family)
    is_free = family.forced_calls_with_thinking
    is_free = is_free and request.profile.forced_calls != "without_thinking"
    if not is_free and thinks(request, plan):
        return (
            'this model cannot be forced to call a tool while it thinks (reasoning="off" allows it)'
        )
    return None


def thinking_fallback(request: Request, plan: ReasoningPlan) -> OutputFallback | None:
    """Return the fallback if the host does not accept a response schema while a model thinks."""
    if request.profile.schema_with_thinking or not thinks(request, plan):
        return None
    return OutputFallback("prompt", f"with thinking {request.provider} does not accept schemas")


def accepted_extra(request: Request, wire: Wire) -> dict[str, Any]:
    """Return `extra` without the fields that the API rejects; warn about those."""
    given = request.options.extra or {}
    extra = {name: value for name, value in given.items() if name not in wire.settings}
    for reason, rejected in (
        (f"{wire.title} does not support", wire.rejected_extra),
        (f"{request.provider} does not accept", request.profile.rejected_options),
        ("this model does not accept", request.family.rejected_options),
    ):
        for name in sorted(rejected.intersection(extra)):
            request.warn("option_ignored", f"{reason} {name}; extra.{name} was left out")
            del extra[name]
    if isinstance(tools := extra.get("tools"), list):
        extra["tools"] = [tool for tool in tools if _accepts_tool(request, wire, tool)]
    return extra


def _accepts_tool(request: Request, wire: Wire, tool: Any) -> bool:
    if not isinstance(tool, Mapping) or wire.accepts_tool(tool):
        return True
    text = f"{request.provider} does not run the tool {tool.get('type')}; it was left out"
    request.warn("option_ignored", text)
    return False


def merge_tools(request: Request, tools: Any, extra_tools: Any) -> Any:
    """Return the caller's tools together with those of `extra`, which the provider runs.

    Gemini 1 and 2 accept only one kind, so those of `extra` are omitted with a warning.
    """
    if not isinstance(tools, list) or not tools or not isinstance(extra_tools, list):
        return extra_tools
    if GEMINI_1_AND_2.search(request.model_id):
        text = (
            f"{request.model} does not accept provider tools together with functions; extra.tools "
            "was left out"
        )
        request.warn("option_ignored", text)
        return tools
    return [*tools, *extra_tools]


def _default_cache_retention() -> CacheRetention:
    """Return `PIPY_CACHE_RETENTION`, or short."""
    try:
        return CacheRetention(os.environ.get("PIPY_CACHE_RETENTION", "short").lower())
    except ValueError:
        return CacheRetention.SHORT


def _resolve_base_url(request: Request, preview: bool) -> str | None:
    """Return the host's address; None: the default of the API, or one that LiteLLM knows."""
    route = request.route
    if request.options.api_base is not None:
        return request.options.api_base
    if not route.api_base or route.kind == "router":  # the router's file has the address
        return None
    missing = [name for name in route.required_env if not os.environ.get(name, "").strip()]
    if missing and not preview:
        raise missing_key_error(request.provider, missing)
    environment = None
    if missing:
        request.warn("missing_variable", f"{' and '.join(missing)} must be set")
        environment = {**os.environ, **{name: name for name in missing}}
    base_url = expand_url(route.api_base, environment)
    # The address of a cloud may also come from LiteLLM's own variables.
    return None if route.kind == "cloud" and "//." in base_url else base_url


def merge_headers(*sources: Mapping[str, str]) -> dict[str, str]:
    """Merge headers, ignoring case: the last one of a name wins; `anthropic-beta` is joined."""
    merged: dict[str, tuple[str, str]] = {}
    for source in sources:
        for name, value in source.items():
            key, value = name.lower(), str(value)
            if key == "anthropic-beta":
                name, earlier = merged.get(key, (name, ""))
                features = (part.strip() for part in f"{earlier},{value}".split(","))
                value = ",".join(dict.fromkeys(part for part in features if part))
            merged[key] = (name, value)
    return dict(merged.values())
