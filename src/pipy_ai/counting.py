"""Count the tokens of a prompt: `count_tokens` and `acount_tokens`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from ._requests import ModelSpec, build_request, takes_options
from .context import Prompt
from .errors import ErrorInfo, ErrorKind, ProviderError, error_info, exception_for
from .options import Options, StreamOptions
from .provider.request import Request
from .provider.retry import retry_delay
from .provider.select import provider_for
from .tokens import TokenCount, estimate_input_tokens
from .utils.event_loop import run_blocking

if TYPE_CHECKING:
    from .output.schema import OutputMode

T = TypeVar("T")

# Statuses of hosts without the endpoint.
_UNKNOWN_ENDPOINT_STATUSES = (404, 405, 501)
# Bedrock rejects most models: "The provided model doesn't support counting tokens."
_UNCOUNTED_MODEL_TEXT = "support counting tokens"


@takes_options
def count_tokens(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    offline: bool = False,
    **keywords: Unpack[Options],
) -> TokenCount:
    """Count the input tokens of a request, without sending it to the model.

    OpenAI (Responses), Anthropic, Gemini, Vertex AI and Amazon Bedrock count them, free of charge:
    the system prompt, tools, images and documents included. For other providers the number is an
    estimate, with `estimated=True`.

    Args:
        model: As for `stream`. In a list, only the first model is used.
        context: As for `stream`.
        options: As for `stream`.
        output: As for `stream`.
        output_mode: As for `stream`.
        offline: Whether to estimate the number without any request.
        **keywords: As for `stream`.

    Raises:
        PipyError: The provider did not count the tokens: the key is missing, or the request failed.
        TypeError: As `stream`.
        ValueError: As `stream`.

    Example:
        >>> from pipy_ai import count_tokens
        >>> count_tokens("openai/gpt-5", "What is the capital of France?", offline=True)
        TokenCount(tokens=9, estimated=True, warnings=())
    """
    request = build_request(model, context, options, keywords, output, output_mode)
    return run_blocking(_count(request, offline), "acount_tokens")


@takes_options
async def acount_tokens(
    model: ModelSpec,
    context: Prompt,
    options: StreamOptions | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    offline: bool = False,
    **keywords: Unpack[Options],
) -> TokenCount:
    """Count the input tokens of a request. The async version of `count_tokens`."""
    request = build_request(model, context, options, keywords, output, output_mode)
    return await _count(request, offline)


async def _count(request: Request, offline: bool) -> TokenCount:
    tokens = None
    counter = None if offline else getattr(provider_for(request), "count_tokens", None)
    if counter is not None:
        tokens = await _abortable(request, _count_with_retries(request, counter))
    if tokens is None:
        tokens, estimated = estimate_input_tokens(request.context), True
    else:
        estimated = False
    return TokenCount(tokens, estimated, tuple(request.warnings))


async def _abortable(request: Request, counting: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine; the signal of the request cancels it.

    Raises:
        PipyError: The signal was given.
    """
    task = asyncio.ensure_future(counting)
    loop, signal = asyncio.get_running_loop(), request.options.signal

    def cancel() -> None:
        loop.call_soon_threadsafe(task.cancel)

    remove_listener = None if signal is None else signal.add_listener(cancel)
    try:
        return await task
    except asyncio.CancelledError:
        if signal is None or not signal.aborted:
            raise
        reason = f": {signal.reason}" if signal.reason else "."
        text = f"The request was aborted{reason}"
        error = error_info(ErrorKind.ABORTED, text, provider=request.provider)
        raise exception_for(error) from None
    finally:
        task.cancel()
        if remove_listener is not None:
            remove_listener()


async def _count_with_retries(
    request: Request, count: Callable[[Request], Awaitable[int | None]]
) -> int | None:
    """Return the number of tokens; None, with a warning, if the provider cannot count.

    Raises:
        PipyError: The request failed, and no retry is left.
    """
    options, retries = request.options, 0
    while True:
        try:
            async with asyncio.timeout(options.timeout or options.idle_timeout):
                return await count(request)
        except TimeoutError:
            text = f"{request.provider} did not count the tokens in time. Try again."
            error = error_info(ErrorKind.TIMEOUT, text, provider=request.provider)
        except ProviderError as failure:
            error = failure.error
        if _is_unsupported(error):
            text = f"the tokens are estimated; {request.model} cannot count them: {error.message}"
            request.warn("tokens_estimated", text)
            return None
        too_late = (error.retry_after or 0.0) * 1000 > options.max_retry_delay_ms
        if not error.retryable or too_late or retries >= options.max_retries:
            raise exception_for(error)
        await asyncio.sleep(retry_delay(error.retry_after, retries))
        retries += 1


def _is_unsupported(error: ErrorInfo) -> bool:
    return error.status_code in _UNKNOWN_ENDPOINT_STATUSES or _UNCOUNTED_MODEL_TEXT in error.message
