"""OpenAI's background responses: an answer that is fetched later, cheaper with a longer window."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, Unpack, overload

from ._requests import takes_options
from .accounting.budget import active_budgets
from .batch_api.client import BatchClient
from .batch_api.requests import STREAM_FIELDS
from .batch_api.results import decode_result
from .batch_api.session import ModelSession
from .batch_api.vendor import RowResult, body_text, text_field
from .context import Prompt
from .errors import ErrorKind, ProviderError, error_info, exception_for
from .options import Options
from .provider.apis import OPENAI_RESPONSES
from .provider.request import Request
from .provider.transport import direct_wire
from .registry import Model
from .types import AssistantMessage, Context, Tool, UserMessage, function_tools
from .utils.event_loop import run_blocking
from .utils.secrets import mask_url

if TYPE_CHECKING:
    from .output.schema import OutputMode, ParsedMessage

T = TypeVar("T")
CompletionWindow: TypeAlias = Literal["soonest", "2h", "8h"]
"""The time within which OpenAI answers."""

FIRST_POLL_S = 1.0
POLL_FACTOR = 1.5
DEFAULT_POLL_S = 60.0
_UNFINISHED = ("queued", "in_progress")


@dataclass(slots=True)
class BackgroundResponse:
    """An answer on which OpenAI works. Plain data without keys: `to_dict` and `from_dict`."""

    id: str
    """OpenAI's id of the response."""
    model: str
    """The full name, `openai/model_id`."""
    window: CompletionWindow = "soonest"
    """The time within which OpenAI answers."""
    api_base: str | None = None
    """The address, if it is not OpenAI's own."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """The tools of the request: name, description and parameters."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BackgroundResponse:
        """Return the response that `to_dict` has described.

        Raises:
            ValueError: The data is not from `to_dict`.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise ValueError(f"not a background response: {error}") from None


@takes_options
def submit_background(
    model: str | Model,
    context: Prompt,
    *,
    window: CompletionWindow = "soonest",
    output: Any = None,
    output_mode: OutputMode | None = None,
    **options: Unpack[Options],
) -> BackgroundResponse:
    """Have OpenAI answer a request in the background. `collect_background` fetches the answer.

    Args:
        model: A model of the provider `openai`.
        context: As for `complete`.
        window: The time within which OpenAI answers. It reduces the price for `"2h"` and `"8h"`; by
            how much is not in the catalogue, so the cost of the answer is unknown then.
        output: As for `complete`; without corrections.
        output_mode: As for `complete`.
        **options: As for `complete`. Timeouts and retries do not apply.

    Returns:
        The response, which another process can fetch, too.

    Raises:
        PipyError: The key is missing, or OpenAI rejected the request. Kind `connection`, `timeout`
            or `server`: the response may have been created; it is not created again.
        TypeError: As `complete`.
        ValueError: As `complete`; `window` is not known, or has no `service_tier`.

    Example:
        >>> from pipy_ai import collect_background, submit_background
        >>> response = submit_background("openai/gpt-5.4", "Hi", window="8h")  # doctest: +SKIP
        >>> collect_background(response).text  # doctest: +SKIP
    """
    submitting = asubmit_background(
        model, context, window=window, output=output, output_mode=output_mode, **options
    )
    return run_blocking(submitting, "asubmit_background")


@takes_options
async def asubmit_background(
    model: str | Model,
    context: Prompt,
    *,
    window: CompletionWindow = "soonest",
    output: Any = None,
    output_mode: OutputMode | None = None,
    **options: Unpack[Options],
) -> BackgroundResponse:
    """Have OpenAI answer in the background. The async version of `submit_background`."""
    if window not in ("soonest", "2h", "8h"):
        raise ValueError(f"window must be 'soonest', '2h' or '8h', not {window!r}")
    if window != "soonest" and options.get("service_tier") not in (None, "default"):
        tier = options.get("service_tier")
        raise ValueError(f"window={window!r} has the tier default: leave out service_tier={tier!r}")
    session = ModelSession(model, output, output_mode, options, takes_tier=True)
    request = session.build(context)
    with _public_errors():
        client = await _connect(request)
        encoded = client.encode(request)
        body = {n: value for n, value in encoded.body.items() if n not in STREAM_FIELDS}
        body |= {"background": True, "store": True}
        if window != "soonest":
            body["background_options"] = {"completion_window": window}
        created = await client.call("POST", client.url, body, headers=encoded.headers, once=True)
        response_id = text_field(created, "id", "id of the response")
    tools = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in function_tools(request.context.tools)
    ]
    api_base = request.options.api_base
    if api_base and mask_url(api_base) != api_base:  # it holds a password
        api_base = None
    return BackgroundResponse(response_id, request.model, window, api_base, tools)


@overload
def collect_background(
    response: BackgroundResponse,
    *,
    output: None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> AssistantMessage: ...
@overload
def collect_background(
    response: BackgroundResponse,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> ParsedMessage[T]: ...
@overload
def collect_background(
    response: BackgroundResponse,
    *,
    output: Any,
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> ParsedMessage[Any]: ...
@takes_options
def collect_background(
    response: BackgroundResponse,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> AssistantMessage | ParsedMessage[Any]:
    """Wait for a background response and return its message. Lost connections do not matter.

    Args:
        response: What `submit_background` returned.
        output: The same as for `submit_background`.
        output_mode: The same as for `submit_background`.
        poll: The longest interval between status requests, in seconds.
        **options: The same as for `submit_background`. `timeout` is the number of seconds after
            which to stop waiting; by default there is no limit.

    Raises:
        PipyError: The key is not accepted, or OpenAI does not know the response.
        TimeoutError: OpenAI still works on it after `timeout`.
        TypeError: As `complete`.
        ValueError: As `complete`.
    """
    collecting: Any = acollect_background(
        response, output=output, output_mode=output_mode, poll=poll, **options
    )
    message: AssistantMessage = run_blocking(collecting, "acollect_background")
    return message


@overload
async def acollect_background(
    response: BackgroundResponse,
    *,
    output: None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> AssistantMessage: ...
@overload
async def acollect_background(
    response: BackgroundResponse,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> ParsedMessage[T]: ...
@overload
async def acollect_background(
    response: BackgroundResponse,
    *,
    output: Any,
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> ParsedMessage[Any]: ...
@takes_options
async def acollect_background(
    response: BackgroundResponse,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    poll: float = DEFAULT_POLL_S,
    **options: Unpack[Options],
) -> AssistantMessage | ParsedMessage[Any]:
    """Wait for a background response. The async version of `collect_background`."""
    timeout = options.pop("timeout", None)
    request = _stand_in(response, output, output_mode, options)
    with _public_errors():
        client = await _connect(request)
        client.encode(request)  # finds the names under which its tools are sent
        try:
            async with asyncio.timeout(timeout):
                document = await _wait(client, response.id, poll)
        except TimeoutError:
            text = f"{response.id} is not answered after {timeout:g} s; collect it later"
            raise TimeoutError(text) from None
    result = RowResult(response.id, body_text(document))
    tier = None if response.window == "soonest" else f"background_{response.window}"
    budgets = tuple(dict.fromkeys(active_budgets.get()))
    message = await decode_result(client.wire, request, result, tier, budgets)
    return message._hand_over()


@takes_options
def cancel_background(response: BackgroundResponse, **options: Unpack[Options]) -> None:
    """Ask OpenAI to stop working on a background response.

    Args:
        response: What `submit_background` returned.
        **options: The same as for `submit_background`.

    Raises:
        PipyError: The request failed.
        TypeError: As `complete`.
        ValueError: As `complete`.
    """
    run_blocking(acancel_background(response, **options), "acancel_background")


@takes_options
async def acancel_background(response: BackgroundResponse, **options: Unpack[Options]) -> None:
    """Ask OpenAI to stop working on it. The async version of `cancel_background`."""
    with _public_errors():
        client = await _connect(_stand_in(response, None, None, options))
        await client.call("POST", f"{client.url}/{response.id}/cancel", {})


async def _wait(client: BatchClient, response_id: str, poll_s: float) -> Any:
    """Return the response once it has ended, however often the connection breaks."""
    delay = FIRST_POLL_S
    while True:
        try:
            document = await client.call("GET", f"{client.url}/{response_id}")
        except ProviderError as failure:
            if not failure.error.retryable:
                raise
        else:
            if text_field(document, "status", "status of the response") not in _UNFINISHED:
                return document
        await asyncio.sleep(min(delay, poll_s))
        delay *= POLL_FACTOR


def _stand_in(
    response: BackgroundResponse, output: Any, output_mode: OutputMode | None, options: Options
) -> Request:
    """Return a request like the one that was sent, whose prompt is not needed any more."""
    tools = [Tool.model_validate(tool) for tool in response.tools]
    all_options: Any = {"api_base": response.api_base, **options}
    session = ModelSession(response.model, output, output_mode, all_options, takes_tier=True)
    messages = [UserMessage(content="-", timestamp=0)]
    return session.build(Context(messages=[*messages], tools=[*tools] or None))


async def _connect(request: Request) -> BatchClient:
    """Return a client for the Responses API, to which the request goes."""
    request.route = replace(request.route, responses_api="always")
    wire = direct_wire(request) if request.provider == "openai" else None
    if wire is None or wire.api != OPENAI_RESPONSES:
        text = f"{request.model}: only models of openai answer in the background, over the direct"
        text += " transport. `submit_many` has the batches of other providers."
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))
    client = BatchClient(request, wire)
    await client.connect()
    return client


@contextlib.contextmanager
def _public_errors() -> Generator[None, None, None]:
    try:
        yield
    except ProviderError as failure:
        raise exception_for(failure.error) from None
