"""Send the rows of a batch from the workers of a Dask cluster: `executor=` of `complete_many`.

The scheduler stays in the calling process: it reads the rows, limits concurrency, retries and
collects the messages, so that one limit holds for all workers. A worker gets one row at a time,
sends it with the API keys of its own environment, and returns the message. When a worker dies, Dask
gives its rows to the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import TYPE_CHECKING, Any

from .._requests import ModelSpec, build_request
from ..accounting.budget import active_budgets
from ..api import complete
from ..context import Prompt, as_context
from ..errors import ErrorKind, ProviderError, error_info
from ..options import Options
from ..types import AssistantMessage, Attempt, Context, StopReason
from ..utils.secrets import is_secret_header, is_secret_parameter

if TYPE_CHECKING:
    from ..accounting.meter import Meter
    from ..output.schema import Output
    from .row import Row, SendRow

STATUS_POLL_S = 5.0  # how often the client's status is checked while waiting for a row
MAX_WORKER_FAILURES = 2  # how often a row is moved to another worker after its worker raised


def create_sender(
    client: Any,
    model: ModelSpec,
    output: Output | None,
    output_mode: Any,
    options: Options,
    message_class: type[AssistantMessage],
) -> SendRow:
    """Return a function that sends a row once, from a worker of the cluster of `client`.

    Raises:
        TypeError: `client` is not a Dask client.
        ValueError: An option that must not or cannot be sent to a worker.
    """
    if not hasattr(client, "scheduler_info") or not hasattr(client, "submit"):
        from ..utils.extras import install_command

        raise TypeError(
            f"executor must be a Dask Client ({install_command('dask')}), not"
            f" {type(client).__name__}"
        )
    _check_options(model, options)
    call_options: dict[str, Any] = {**options, "max_retries": 0}
    if output is not None:  # only the schema is sent: workers may not be able to import the type
        call_options |= {"output": output.schema, "output_mode": output_mode}
    options_digest = _digest(
        str(model), call_options.get("output"), sorted((n, repr(v)) for n, v in options.items())
    )

    async def send(row: Row) -> AssistantMessage:
        context = as_context(row.request.prompt)
        try:
            meter = _open_meter(row.request.model or model, context, options)
        except ProviderError as refusal:
            error = refusal.error
            return message_class(
                error=error, error_message=error.message, stop_reason=StopReason.ERROR
            )
        answer = None
        try:
            answer = await send_to_cluster(row, context)
            return answer
        finally:
            if meter is not None:
                if answer is not None:
                    meter.finish_attempt(
                        answer, Attempt(duration_ms=answer.duration_ms), is_last=True
                    )
                meter.abandon()

    async def send_to_cluster(row: Row, context: Context) -> AssistantMessage:
        request, row_output = row.request, output
        if (schema := request.options.get("output")) is not None:
            from ..output.schema import Output

            row_output = Output.of(schema)
        request_digest = _digest(
            options_digest, request.model, request.options, context.model_dump(mode="json")
        )
        key = f"pipy-{row.index}-{row.send_count}-{request_digest}"
        loop = client.loop.asyncio_loop
        future = asyncio.run_coroutine_threadsafe(
            _submit_row(
                client, key, request.model or model, context, {**call_options, **request.options}
            ),
            loop,
        )
        try:
            answer = await _wait_for_row(client, asyncio.wrap_future(future))
            if row_output is not None and answer.error is None:
                _validate_message(answer, row_output)
            return answer
        except Exception as failure:  # e.g. a row that kills every worker; pipy-ai not installed
            text = f"The cluster failed: {type(failure).__name__}: {failure}"
            connection_lost = isinstance(failure, (futures.CancelledError, OSError))
            unreachable = connection_lost or client.status != "running"
            kind = ErrorKind.CONNECTION if unreachable else ErrorKind.SERVER
            error = error_info(kind, text, retryable=unreachable)
            return message_class(error=error, error_message=text, stop_reason=StopReason.ERROR)

    return send


async def _wait_for_row(client: Any, future: asyncio.Future[AssistantMessage]) -> AssistantMessage:
    """Wait for a row's message, but no longer than the client is connected to its scheduler."""
    try:
        while not (await asyncio.wait({future}, timeout=STATUS_POLL_S))[0]:
            if client.status != "running":
                raise ConnectionError(f"the Dask client is {client.status}")
    finally:
        future.cancel()
    # Dask cancels several rows at once: rows that are gathered together share a task of the client.
    if future.cancelled():
        raise ConnectionError("the Dask client cancelled the row")
    return future.result()


async def _submit_row(
    client: Any, key: str, model: ModelSpec, context: Prompt, call_options: Mapping[str, Any]
) -> AssistantMessage:
    """Submit a row and wait for its message. Runs in the client's event loop."""
    if client.status != "running":  # a closing client never answers
        raise ConnectionError(f"the Dask client is {client.status}")
    future = client.submit(
        _complete_on_worker,
        model,
        context,
        dict(call_options),
        key=key,
        retries=MAX_WORKER_FAILURES,
        pure=False,
    )
    try:
        message: AssistantMessage = await client.gather(future, asynchronous=True)
        return message
    except asyncio.CancelledError:
        await client.cancel([future], asynchronous=True, force=True)
        raise
    finally:
        future.release()


def _complete_on_worker(
    model: ModelSpec, context: Prompt, call_options: dict[str, Any]
) -> AssistantMessage:
    """Send a row. Runs in a thread of a worker."""
    message: AssistantMessage = complete(model, context, **call_options)
    return message


def _open_meter(model: ModelSpec, context: Context, options: Options) -> Meter | None:
    """Return a meter that counts a row for the active budgets, or None if there are none.

    The prompt is counted now, the answer when it has arrived.

    Raises:
        ProviderError: A budget does not cover the prompt.
    """
    if not (budgets := active_budgets.get()):
        return None
    from ..accounting.meter import Meter

    meter = Meter(budgets, None, lambda error: None)  # a worker's request cannot be cancelled
    meter.start_attempt(build_request(model, context, None, options))
    return meter


def _validate_message(message: AssistantMessage, output: Output) -> None:
    """Parse an answer in this process, where the output type is available."""
    error = output.validate_message(message)
    if error is not None:
        message.error, message.error_message = error, error.message
        message.stop_reason = StopReason.ERROR


def _check_options(model: ModelSpec, options: Options) -> None:
    """Raise ValueError for options that cannot be sent to workers.

    A secret must not enter the task graph, which Dask's scheduler and dashboard can show.
    """
    extra = options.get("extra") or {}
    headers = {**(options.get("headers") or {}), **(extra.get("extra_headers") or {})}
    secrets = ["api_key"] if options.get("api_key") is not None else []
    secrets += [f"the header {name}" for name in headers if is_secret_header(name)]
    secrets += [f"{name} in extra" for name in extra if _is_credential(name)]
    if secrets:
        raise ValueError(
            f"{secrets[0]} would be sent through the cluster: set the provider's environment"
            " variable on each worker instead (`pipy providers` lists it)"
        )
    if active_budgets.get() and not isinstance(model, str) and isinstance(model, Sequence):
        raise ValueError("with a budget, executor= supports a single model, not a list")
    for name in ("signal", "on_payload", "on_request", "on_response", "on_event"):
        if options.get(name) is not None:
            raise ValueError(f"{name} cannot be sent to the workers of a cluster")


def _is_credential(parameter: str) -> bool:
    return parameter.startswith("aws_") or is_secret_parameter(parameter)


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
