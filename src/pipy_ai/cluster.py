"""Rows asked by the workers of a Dask cluster: what `executor=` of `complete_many` stands for.

The batch stays where it was called: it feeds, paces, tries again and collects, so that one pace
holds for all workers. A worker gets one row at a time, asks with the keys of its own environment,
and sends back the message. When one dies, Dask gives its rows to the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import TYPE_CHECKING, Any

from .api import Models, Options, build_request, complete
from .context import Prompt, as_context
from .errors import ErrorKind, ProviderError, error_info
from .provider.engine import BUDGETS
from .types import AssistantMessage, Attempt, Context, StopReason

if TYPE_CHECKING:
    from .many import Ask, Row
    from .output import Output
    from .provider.meter import Meter

WATCH = 5.0  # seconds between two looks at the client while it waits for a row
DEATHS = 2  # times that a row is given to another worker when its own raises
_SECRET = re.compile(r"auth|key|token|secret|cookie", re.IGNORECASE)  # in a header's name
_LITELLM_SECRET = re.compile(r"^api_key$|^aws_|secret|credential|ad_token|password", re.IGNORECASE)


def asker(
    client: Any,
    model: Models,
    output: Output | None,
    mode: Any,
    options: Options,
    message: type[AssistantMessage],
) -> Ask:
    """What asks a row once, on some worker of the cluster of `client`.

    Raises:
        TypeError: it is no Dask client.
        ValueError: an option that must not or cannot travel.
    """
    if not hasattr(client, "scheduler_info") or not hasattr(client, "submit"):
        raise TypeError(
            f"executor is a Dask Client (pip install 'pipy-ai[dask]'), not {type(client).__name__}"
        )
    _check(model, options)
    asked: dict[str, Any] = {**options, "max_retries": 0}
    if output is not None:  # its schema travels; the type may be one that the workers have not
        asked |= {"output": output.schema, "output_mode": mode}
    how = _digest(str(model), asked.get("output"), sorted((n, repr(v)) for n, v in options.items()))

    async def ask(row: Row) -> AssistantMessage:
        context = as_context(row.context)
        try:
            meter = _metered(model, context, options)
        except ProviderError as refused:
            why = refused.error
            return message(error=why, error_message=why.message, stop_reason=StopReason.ERROR)
        answer = None
        try:
            answer = await asked_for(row, context)
            return answer
        finally:
            if meter is not None:
                if answer is not None:
                    meter.close(answer, Attempt(duration_ms=answer.duration_ms), last=True)
                meter.drop()

    async def asked_for(row: Row, context: Context) -> AssistantMessage:
        key = f"pipy-{row.index}-{row.sends}-{_digest(how, context.model_dump(mode='json'))}"
        loop = client.loop.asyncio_loop
        work = asyncio.run_coroutine_threadsafe(_send(client, key, model, context, asked), loop)
        try:
            answer = await _wait(client, asyncio.wrap_future(work))
            if output is not None and answer.error is None:
                _judge(answer, output)
            return answer
        except Exception as failure:  # a row that kills each worker, a worker without pipy-ai
            text = f"The cluster failed: {type(failure).__name__}: {failure}"
            lost = isinstance(failure, (futures.CancelledError, OSError))
            gone = lost or client.status != "running"
            kind = ErrorKind.CONNECTION if gone else ErrorKind.SERVER
            error = error_info(kind, text, retryable=gone)
            return message(error=error, error_message=text, stop_reason=StopReason.ERROR)

    return ask


async def _wait(client: Any, work: asyncio.Future[AssistantMessage]) -> AssistantMessage:
    """Wait for a row; not for ever on a client that has lost its scheduler meanwhile."""
    try:
        while not (await asyncio.wait({work}, timeout=WATCH))[0]:
            if client.status != "running":
                raise ConnectionError(f"the client of the cluster is {client.status}")
    finally:
        work.cancel()
    if work.cancelled():  # by Dask: rows that are collected together share one task of the client
        raise ConnectionError("the client of the cluster has given the row up")
    return work.result()


async def _send(
    client: Any, key: str, model: Models, context: Prompt, asked: Mapping[str, Any]
) -> AssistantMessage:
    """In the client's own loop: hand in one row and wait for its message."""
    if client.status != "running":  # what is handed in while it closes is never answered
        raise ConnectionError(f"the client of the cluster is {client.status}")
    future = client.submit(_ask, model, context, dict(asked), key=key, retries=DEATHS, pure=False)
    try:
        message: AssistantMessage = await client.gather(future, asynchronous=True)
        return message
    except asyncio.CancelledError:
        await client.cancel([future], asynchronous=True, force=True)
        raise
    finally:
        future.release()


def _ask(model: Models, context: Prompt, asked: dict[str, Any]) -> AssistantMessage:
    """On a worker, in one of its threads."""
    message: AssistantMessage = complete(model, context, **asked)
    return message


def _metered(model: Models, context: Context, options: Options) -> Meter | None:
    """What counts a row for the budgets around the batch: its prompt now, the rest at its end.

    Raises:
        ProviderError: a budget does not cover it.
    """
    if not (budgets := BUDGETS.get()):
        return None
    from .provider.meter import Meter

    meter = Meter(budgets, None, lambda why: None)  # a thread of a worker cannot be stopped
    meter.open(build_request(model, context, None, options))
    return meter


def _judge(message: AssistantMessage, output: Output) -> None:
    """Give an answer that fits the schema its value of the type, here where the type is known."""
    error = output.judge(message)
    if error is not None:
        message.error, message.error_message = error, error.message
        message.stop_reason = StopReason.ERROR


def _check(model: Models, options: Options) -> None:
    """A key never enters the graph, where the scheduler and its pages could show it."""
    extra = options.get("extra") or {}
    headers = {**(options.get("headers") or {}), **(extra.get("extra_headers") or {})}
    secret = ["api_key"] if options.get("api_key") is not None else []
    secret += [f"the header {name}" for name in headers if _SECRET.search(name)]
    secret += [f"{name} in extra" for name in extra if _LITELLM_SECRET.search(name)]
    if secret:
        raise ValueError(
            f"{secret[0]} would travel through the cluster: set the provider's variable in the"
            " environment of each worker instead (`pipy providers` names it)"
        )
    if BUDGETS.get() and not isinstance(model, str) and isinstance(model, Sequence):
        raise ValueError("under a budget a cluster asks one model, not a list of them")
    for name in ("signal", "on_payload"):
        if options.get(name) is not None:
            raise ValueError(f"{name} cannot travel to the workers of a cluster")


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
