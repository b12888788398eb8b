"""`Wire`: the implementation of one API.

Each module of `provider/wires/` builds one. A wire is data and pure functions: it encodes a
prepared request as HTTP and decodes the bytes of the response into deltas. Sending is the job of
`provider.exchange`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from ..types import FileContent, ServerTool
from .content import COMMON_IMAGE_TYPES
from .deltas import Delta
from .request import EncodedRequest, PreparedRequest, Request


class Framing(Protocol):
    """Splits the body of a response into events, wherever its bytes are split.

    Server-sent events, lines of JSON and binary frames are all the same to a decoder: a name and
    the text of a payload.
    """

    document_starts: bytes
    """First characters of a body that is one JSON document instead of a stream of events."""

    find_end: Callable[[bytes, int], int] | None
    """Returns where the event ends that starts at a place in the data; -1: the data has no end of
    it. None: events cannot be told apart by their bytes alone."""

    def feed(self, chunk: bytes) -> list[tuple[str, str]]:
        """Return the `(event, data)` pairs that `chunk` completes."""
        ...

    def finish(self) -> list[tuple[str, str]]:
        """Return the events that the end of the body completes."""
        ...


class Decoder(Protocol):
    """Reads one response. A new one is made for each."""

    api: str
    """The value of `message.api`."""

    varying_fields: frozenset[str]
    """Fields that mean nothing to the decoder, wherever they are in an event. An event that differs
    from the one before only in these and in its text decodes to the same but for the text."""

    count_field: str
    """A field that may differ as well if the event decodes to its text and an `OutputCount`, which
    grows by the same number. Empty: the API has none."""

    done: bool
    """Whether the API's last event has been read."""

    def decode(
        self, event: str, data: str, deltas: list[Delta], parsed: dict[str, Any] | None = None
    ) -> None:
        """Append the deltas of one event to `deltas`, which keeps those before an error.

        `parsed` is the JSON object in `data`, if it has been parsed.

        Raises:
            ProviderError: The provider reports a failure, or the event is not a JSON object.
            Exception: One of `MALFORMED`: a field of the event has the wrong type.
        """
        ...

    def decode_body(self, body: str, deltas: list[Delta]) -> None:
        """Do the same for a response that is one document instead of a stream."""
        ...


class ReasoningOptions(NamedTuple):
    """How the thinking of a model can be set: effort values, a budget's range, an on/off switch."""

    efforts: tuple[str, ...] = ()
    budget: Mapping[str, Any] | None = None
    toggle: bool = False


DEFAULT_REASONING = ReasoningOptions(efforts=("low", "medium", "high"))


def _default_reasoning(record: Mapping[str, Any] | None, model_id: str) -> ReasoningOptions:
    return DEFAULT_REASONING


class ThinkingRules(NamedTuple):
    """How an API accepts options for thinking.

    Attributes:
        budget: accepts a number of tokens.
        off_by_default: a model thinks only on request, so nothing has to be sent to turn it off.
        zero_is_off: a budget of 0 turns thinking off.
        switch: has a field that turns thinking off, for models that think by default.
        adaptive_effort: an effort that only models with adaptive thinking have. Models without it
            get a budget even if they accept efforts.
        tools_beta: the beta feature that lets a model think between tool calls.
        defaults: the settings of models without `reasoning_options` in the catalogue.
        defaults_if_empty: they also apply to models that are listed with no settings at all.
    """

    budget: bool = False
    off_by_default: bool = False
    zero_is_off: bool = False
    switch: bool = False
    adaptive_effort: str = ""
    tools_beta: str = ""
    defaults: Callable[[Mapping[str, Any] | None, str], ReasoningOptions] = _default_reasoning
    defaults_if_empty: bool = False


def bearer_auth(api_key: str) -> dict[str, str]:
    """Return the header of an API key as most APIs expect it."""
    return {"authorization": f"Bearer {api_key}"}


def accept_all(names: Collection[str]) -> bool:
    """Accept any field of `extra`."""
    return True


def accept_any_tool(tool: Mapping[str, Any]) -> bool:
    """Accept any tool of `extra`."""
    return True


def no_restorer(schema: Mapping[str, Any]) -> None:
    """Return None: no property of a tool is renamed."""
    return


class EncodedServerTool(NamedTuple):
    """A tool that the provider runs, in its own format.

    Attributes:
        tool: an item of `tools`; None: the tool is only in `fields`.
        fields: further fields of the body. Lists are added to those of other tools.
        beta: the beta feature of Anthropic that it needs.
        file_ids: files that the first user message must refer to.
    """

    tool: dict[str, Any] | None
    fields: Mapping[str, Any] = {}
    beta: str = ""
    file_ids: Sequence[str] = ()


def no_stored_file_problem(file: FileContent, request: Request) -> str:
    """Accept all files that are stored at the provider."""
    return ""


def no_server_tool(tool: ServerTool, request: Request) -> EncodedServerTool | str | None:
    """Run no tools on the provider's side."""
    return None


def portable_tool_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's schema as OpenAI and most others accept it."""
    from ..utils.vendor_schemas import to_tool_schema

    return to_tool_schema(schema)


class OutputFallback(NamedTuple):
    """The output mode to use if an API does not accept a schema, and why.

    `over_limit`: the API would accept a smaller one; the caller gets a warning.
    """

    mode: Literal["tool", "prompt"]
    reason: str
    over_limit: bool = False


ArgumentsRestorer: TypeAlias = Callable[
    [Mapping[str, Any]], Callable[[dict[str, Any]], dict[str, Any]] | None
]
SchemaFallback: TypeAlias = Callable[[Request, Mapping[str, Any]], OutputFallback | None]


class TokenCounter(NamedTuple):
    """The endpoint of an API that counts the tokens of a prompt.

    Attributes:
        convert: returns its URL and body for those of a request.
        field: the field of its response with the number of tokens.
    """

    convert: Callable[[Request, str, Mapping[str, Any]], tuple[str, dict[str, Any]]]
    field: str


def no_fallback(request: Request, schema: Mapping[str, Any]) -> None:
    """Accept any schema."""
    return None


class Wire(NamedTuple):
    """One API: how requests are encoded, how responses are decoded, and what it can carry.

    Attributes:
        api: the name of the API, as in `message.api`.
        title: the name of the API in warnings.
        encode: returns URL, headers and JSON body of a request, without the key.
        decoder: makes a decoder for one response.
        framing: makes a reader that splits a response into events.
        url_suffix: how the paths of its URLs end.
        default_family: the name of the family whose rules apply to unknown models.
        sampling: its fields for sampling options and `stop`, by the name of the option.
        blank_stops: accepts values of `stop` that are only white space.
        max_stops: more values of `stop` are rejected; 0 is no limit of the API.
        extensions: undocumented fields that most of its hosts accept.
        auth_headers: returns the headers that carry a key.
        accepts_extra: whether it accepts these fields of `extra` unchanged; otherwise LiteLLM
            translates them.
        rejected_extra: fields of `extra` that the API rejects and LiteLLM cannot translate.
        nested_extra: fields of `extra` that belong into an object of the body, by its name.
        settings: fields of `extra` that are settings of the host's address.
        accepts_tool: whether it accepts a tool of `extra`; otherwise the tool is left out.
        server_tool: returns a tool that the provider runs in its own format, or why it cannot be
            used; None: the provider does not have it, or a native tool is an item of `tools`.
        replays_raw: accepts calls and results of its own tools, and its images and audio, again as
            it sent them.
        produces: the kinds of content that an answer can have.
        raw_with_thinking: accepts those calls only together with the thinking before them.
        image_urls: accepts images by URL; otherwise they have to be downloaded.
        image_types: the types of images that it reads.
        document_urls: accepts PDFs by URL.
        audio_types, video_types: the types of audio and video that it reads; empty: none.
        audio_urls, video_urls: the addresses from which it fetches them; None: none.
        file_problem: returns why it cannot read a file that is stored at its provider, or "" if it
            can; None: it takes no such files.
        schema_providers: the providers whose models accept a response schema; None: all.
        schema_fallback: returns the output mode to use if the API does not accept a schema, and
            why; None: it accepts the schema.
        tool_name: the names of tools that it accepts.
        tool_schema: converts the schema of a tool to one that it accepts.
        arguments_restorer: returns, for the schema of a tool, a function that restores the property
            names that `tool_schema` replaced; None: it replaced none.
        signed_thinking: accepts thinking of earlier turns with its signature.
        unsigned_thinking: accepts thinking of earlier turns without a signature.
        signed_empty_text: sends signatures on text parts without text, and expects them back.
        starts_with_user: the first message must be the user's.
        strict_history: accepts only thinking from the same API, and no turn may end with it.
        cache_control: `cache_control` markers set which parts of a prompt are cached.
        thinking: how it accepts options for thinking.
        token_counter: its endpoint that counts tokens; None: it has none.
        model_lists: returns the URLs of its lists of models, for the URL of a request; None: it
            has none.
    """

    api: str
    title: str
    encode: Callable[[Request, PreparedRequest], EncodedRequest]
    decoder: Callable[[], Decoder]
    framing: Callable[[], Framing]
    url_suffix: str
    sampling: Mapping[str, str]
    default_family: str = ""
    blank_stops: bool = True
    max_stops: int = 0
    extensions: frozenset[str] = frozenset()
    auth_headers: Callable[[str], dict[str, str]] = bearer_auth
    accepts_extra: Callable[[Collection[str]], bool] = accept_all
    rejected_extra: frozenset[str] = frozenset()
    nested_extra: Mapping[str, frozenset[str]] = {}
    settings: frozenset[str] = frozenset()
    accepts_tool: Callable[[Mapping[str, Any]], bool] = accept_any_tool
    server_tool: Callable[[ServerTool, Request], EncodedServerTool | str | None] = no_server_tool
    replays_raw: bool = False
    produces: frozenset[str] = frozenset({"text"})
    raw_with_thinking: bool = False
    image_urls: bool = True
    image_types: frozenset[str] = COMMON_IMAGE_TYPES
    document_urls: bool = False
    audio_types: frozenset[str] = frozenset()
    video_types: frozenset[str] = frozenset()
    audio_urls: re.Pattern[str] | None = None
    video_urls: re.Pattern[str] | None = None
    file_problem: Callable[[FileContent, Request], str] | None = None
    schema_providers: frozenset[str] | None = None
    schema_fallback: SchemaFallback = no_fallback
    tool_name: re.Pattern[str] = re.compile(r"[A-Za-z0-9_-]{1,64}")
    tool_schema: Callable[[Mapping[str, Any]], dict[str, Any]] = portable_tool_schema
    arguments_restorer: ArgumentsRestorer = no_restorer
    signed_thinking: bool = False
    unsigned_thinking: bool = False
    signed_empty_text: bool = False
    starts_with_user: bool = False
    strict_history: bool = False
    cache_control: bool = False
    thinking: ThinkingRules = ThinkingRules()
    token_counter: TokenCounter | None = None
    model_lists: Callable[[str], tuple[str, ...]] | None = None

    def sampling_fields(self, prepared: PreparedRequest) -> dict[str, Any]:
        """Return the sampling options of a request under their names in this API."""
        return {self.sampling[name]: value for name, value in prepared.sampling.items()}
