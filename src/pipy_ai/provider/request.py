"""The stages of a request, as plain data: `Request`, `PreparedRequest`, `EncodedRequest`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ErrorKind, ProviderError, error_info
from ..options import SimpleStreamOptions, ThinkingLevel
from ..registry.routing import Route
from ..types import AssistantMessage, Context, Message, Tool, Warning, function_tools

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace

    from ..output.schema import Output
    from .deltas import Delta
    from .profiles import Family, Profile
    from .response import ResponseCapture
else:
    from ..utils.dataclass import dataclass, field, replace

_MODALITIES = ("text", "image", "audio")  # of answers


@dataclass(slots=True)
class Request:
    """One request to `provider/model_id`: the conversation and the options."""

    provider: str
    """The provider's name."""
    model_id: str
    """The provider's name of the model."""
    context: Context
    """The conversation."""
    options: SimpleStreamOptions
    """The options."""
    record: Mapping[str, Any] | None = None
    """The model's record in the catalogue, in the format of models.dev. None: unlisted."""
    route: Route = field(default_factory=Route)
    """How the model is reached."""
    warnings: list[Warning] = field(default_factory=list)
    """Deviations from the request. They are added to `message.warnings`."""
    output: Output | None = None
    """The type that the response must have, if one was requested."""
    tool_names: dict[str, str] = field(default_factory=dict)
    """The original names of tools that are sent under another name, by that name."""
    restore_arguments: Callable[[str, dict[str, Any]], dict[str, Any]] | None = field(
        default=None, repr=False, compare=False
    )
    """Restores the original property names in the arguments of a call, by the tool's name. None:
    no names were replaced."""
    redact: Callable[[str], str] | None = field(default=None, repr=False, compare=False)
    """Removes the secrets of the request from a text. Set when the request is sent."""
    response: ResponseCapture | None = field(default=None, repr=False, compare=False)
    """What is kept of the HTTP response to the latest attempt. None: it was not sent."""
    deliver: Callable[[list[Delta]], None] | None = field(default=None, repr=False, compare=False)
    """Takes deltas at once, as an alternative to yielding them after the first batch, and costs
    less. None: all must be yielded."""
    is_continuation: bool = False
    """Whether the last message is an answer that the provider paused."""

    def continuation(self, message: AssistantMessage) -> Request:
        """Return the request that continues `message`, an answer that the provider paused."""
        messages = self.context.messages[:-1] if self.is_continuation else self.context.messages
        context = self.context.model_copy(update={"messages": [*messages, message]})
        return replace(self, context=context, is_continuation=True)

    @property
    def model(self) -> str:
        """The full name, `provider/model_id`."""
        return f"{self.provider}/{self.model_id}" if self.model_id else self.provider

    @property
    def base_model_id(self) -> str:
        """The id of the listed model of which this is a deployment or variant, else its own."""
        base_model = (self.record or {}).get("base_model")
        return base_model.rpartition("/")[2] if isinstance(base_model, str) else self.model_id

    @property
    def backend(self) -> str:
        """LiteLLM's name of the provider."""
        return self.route.backend or self.provider

    @property
    def profile(self) -> Profile:
        """The differences of the host from its API."""
        profile_for = _profile_functions()[0]
        return profile_for(self.provider, self.backend, self.model_id)

    @property
    def family(self) -> Family:
        """The differences of the model family on every host."""
        family_for = _profile_functions()[1]
        return family_for(self.base_model_id)

    @property
    def alternating_roles(self) -> bool:
        """Whether users and assistants must take turns, users first."""
        return self.profile.alternating_roles or self.family.alternating_roles

    @property
    def reasoning(self) -> ThinkingLevel | None:
        """The requested level; None: the model's default."""
        return self.options.reasoning

    @property
    def service_tier(self) -> str | None:
        """The requested service tier under the host's name; "": its default; None: not set, or
        the host does not have it."""
        tiers = self.options.service_tier
        if not tiers:
            return None
        from .profiles import service_tier_name

        tier = tiers if isinstance(tiers, str) else tiers[0]
        return service_tier_name(self.provider, self.base_model_id, tier)

    @property
    def accepts_images(self) -> bool | None:
        """Whether the model accepts images; None: unknown."""
        return self._accepts_input("image")

    @property
    def accepts_documents(self) -> bool | None:
        """Whether the model accepts PDFs; None: unknown."""
        match self.profile.documents:
            case "all":
                return True
            case "none":
                return False
            case "with_images":
                return self._accepts_input("pdf") or self.accepts_images
            case _:
                return self._accepts_input("pdf")

    @property
    def accepts_audio(self) -> bool | None:
        """Whether the model accepts audio; None: unknown."""
        return self._accepts_input("audio")

    @property
    def accepts_video(self) -> bool | None:
        """Whether the model accepts video; None: unknown."""
        return self._accepts_input("video")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The kinds of content that the answer should have; empty: only text, or unknown."""
        if self.options.modalities is not None:
            return tuple(self.options.modalities)
        modalities = (self.record or {}).get("modalities")
        produced = modalities.get("output") if isinstance(modalities, Mapping) else None
        known = [name for name in _MODALITIES if isinstance(produced, list) and name in produced]
        return () if known == ["text"] else tuple(known)

    def _accepts_input(self, modality: str) -> bool | None:
        if self.profile.text_only or modality in self.profile.rejected_inputs:
            return False
        modalities = (self.record or {}).get("modalities")
        input_modalities = modalities.get("input") if isinstance(modalities, Mapping) else None
        return modality in input_modalities if isinstance(input_modalities, list) else None

    @property
    def has_tools(self) -> bool:
        """Whether the request carries tools."""
        return bool(self.context.tools) or "tools" in (self.options.extra or {})

    @property
    def has_functions(self) -> bool:
        """Whether the request carries tools that the caller runs."""
        return bool(function_tools(self.context.tools))

    def warn(self, code: str, message: str) -> None:
        """Add a warning, once."""
        warning = Warning(code=code, message=message)
        if warning not in self.warnings:
            self.warnings.append(warning)


@cache
def _profile_functions() -> tuple[Callable[[str, str, str], Profile], Callable[[str], Family]]:
    """Import the profiles with the first request: a request reads them some thirty times."""
    from .profiles import family_for, profile_for

    return profile_for, family_for


class ReasoningPlan(NamedTuple):
    """How much a request makes the model think. At most one of the first three fields is set.

    Attributes:
        effort: an effort that the model has; "none" turns thinking off.
        budget_tokens: tokens for thinking; 0 turns it off.
        enabled: on or off, if nothing else can be set.
        max_tokens: limit of thinking and answer together, if a budget changes it.
    """

    effort: str | None = None
    budget_tokens: int | None = None
    enabled: bool | None = None
    max_tokens: int | None = None

    @property
    def thinks(self) -> bool | None:
        """Whether thinking is turned on or off; None: the default applies."""
        if self == ReasoningPlan():
            return None
        return bool(self.budget_tokens or self.enabled) or self.effort not in (None, "none")


@dataclass(slots=True)
class PreparedRequest:
    """A request with its conversation adapted to the model and its options resolved.

    Attributes:
        messages: the conversation as the model accepts it.
        sampling: the sampling options that the model accepts, by the name of the option.
        stop: the strings at which the answer stops, if the model accepts them.
        cache_retention: "none", "short" or "long".
        cache_control: whether to mark the parts to cache.
        base_url: the host's address; None: the default of the API.
        headers: the caller's headers, and beta features.
        tools: the tools with names and schemas that the API accepts.
    """

    messages: list[Message]
    system_prompt: str | None
    sampling: dict[str, Any]
    stop: str | list[str] | None
    tool_choice: str | dict[str, Any] | None
    reasoning: ReasoningPlan
    cache_retention: str
    cache_control: bool
    base_url: str | None
    headers: dict[str, str] = field(default_factory=dict)
    tools: list[Tool] | None = None


class EncodedRequest(NamedTuple):
    """An HTTP request without its key. Fields of the body that are None are left out.

    `idle_timeout` (seconds) replaces the default for models that send nothing for a long time.
    """

    url: str
    headers: dict[str, str]
    body: dict[str, Any]
    idle_timeout: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Preview:
    """A request that was not sent: HTTP method, URL, headers (keys masked) and JSON body.

    If there is no HTTP request to show, `method` and `url` are empty and `body` holds the arguments
    of the backend.
    """

    method: str
    """The HTTP method. Empty if there is no HTTP request to show."""
    url: str
    """The address. Empty if there is no HTTP request to show."""
    headers: dict[str, str]
    """The headers, with API keys masked."""
    body: dict[str, Any]
    """The JSON body, or the arguments of the backend."""
    warnings: tuple[Warning, ...] = ()
    """Options that were ignored or changed."""

    @property
    def cached(self) -> str:
        """Which part of the request the provider would keep in its prompt cache, and how long.
        Empty: the request does not say."""
        from .cached_parts import describe_cached_parts

        return describe_cached_parts(self.body)

    def __repr__(self) -> str:
        from ..reprs import dataclass_repr

        return dataclass_repr(self)


def bad_request_error(request: Request, text: str) -> ProviderError:
    """Return the error of a request that cannot be sent."""
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))
