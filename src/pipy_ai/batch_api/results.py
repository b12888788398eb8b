"""Read the results of a job: find each row in the downloaded lines, and decode its answer."""

from __future__ import annotations

import copy
import json
from array import array
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..accounting.budget import Budget, active_budgets
from ..accounting.ledger import ledger_path
from ..accounting.meter import charge_message
from ..errors import ErrorInfo, ErrorKind, ProviderError, error_info
from ..output.request import OutputRetries
from ..provider.deltas import Delta, Finish, ResponseInfo, UsageReport
from ..provider.engine import Run
from ..provider.exchange import decode_document
from ..provider.request import Request
from ..provider.tool_definitions import restore_tool_names
from ..provider.wire import Wire
from ..stream import EventQueue
from ..types import AssistantMessage, Context
from .client import BatchClient
from .handle import BatchJob
from .requests import position_of
from .vendor import JobStatus, RowResult, Vendor

if TYPE_CHECKING:
    from typing import Self

BATCH_TIER = "batch"


@dataclass(slots=True)
class ResultIndex:
    """Where each row's result is in a file of results. `offsets` has -1 for a missing row."""

    path: Path
    offsets: array[int]
    unknown: int = 0  # lines whose id is not one of the job
    duplicates: int = 0
    malformed: int = 0

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def found(self) -> int:
        """The number of rows with a result."""
        return len(self.offsets) - self.offsets.count(-1)


def index_results(path: Path, job: BatchJob, vendor: Vendor) -> ResultIndex:
    """Find the rows of a job in a file of results, with 8 bytes of memory for each row.

    An answer replaces an error of the same row; otherwise the first line of a row counts.
    """
    index = ResultIndex(path, array("q", [-1]) * job.rows)
    failed = bytearray(job.rows)
    offset = 0
    with path.open("rb") as file:
        for line in file:
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            result = _parse_line(line, vendor)
            if result is None:
                index.malformed += 1
                continue
            position = position_of(job.key, job.rows, result.custom_id)
            if position is None:
                index.unknown += 1
                continue
            is_failure = result.error is not None
            if index.offsets[position] >= 0:
                index.duplicates += 1
                if is_failure or not failed[position]:
                    continue
            index.offsets[position] = start
            failed[position] = is_failure
    return index


def _parse_line(line: bytes, vendor: Vendor) -> RowResult | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return vendor.parse(document) if isinstance(document, dict) else None


class JobResults:
    """The results of one job, from a file that was downloaded. A context manager.

    `request` stands for the requests of the rows: it has their tools, output and options. `lost`
    is the error of rows whose results cannot be downloaded any more. With `charge`, budgets and the
    ledger count the answers.
    """

    def __init__(
        self,
        client: BatchClient,
        request: Request,
        vendor: Vendor,
        index: ResultIndex,
        status: JobStatus,
        lost: ErrorInfo | None,
        charge: bool = True,
    ) -> None:
        self._wire = client.wire
        self._vendor = vendor
        self._request = request
        self._index = index
        self._status = status
        self._errors = {error.line: error.error for error in status.errors}
        self._lost = lost
        self._charge = charge
        self._budgets = active_budgets.get()
        client.encode(request)  # finds the names under which its tools are sent

    def __enter__(self) -> Self:
        self._file = self._index.path.open("rb")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._index)

    async def message(self, position: int) -> AssistantMessage:
        """Return the message of a row, by its position in the job."""
        offset, result = self._index.offsets[position], None
        if offset >= 0:
            self._file.seek(offset)
            result = _parse_line(self._file.readline(), self._vendor)
        if result is None:
            errors = self._errors
            error = errors.get(position + 1) or errors.get(None) or self._lost
            error = error or _missing_error(self._status, bool(errors))
            result = RowResult("", None, error)
        return await self.decode(result)

    async def decode(self, result: RowResult) -> AssistantMessage:
        """Return the message of a result, as if it had answered a request of its own."""
        budgets = self._budgets if self._charge else None
        return await decode_result(self._wire, self._request, result, BATCH_TIER, budgets)


async def decode_result(
    wire: Wire,
    request: Request,
    result: RowResult,
    tier: str | None,
    budgets: tuple[Budget, ...] | None,
) -> AssistantMessage:
    """Return the message of a result, as if it had answered a request of its own.

    `request` stands for the one that was sent. `tier` replaces the service tier that the provider
    names. `budgets` and the ledger count the answer; None: they do not.
    """
    request = copy.copy(request)
    request.warnings = list(request.warnings)
    queue = EventQueue()
    await Run(_Replay(wire, result, tier), request, queue, metered=False).drive()
    message: AssistantMessage = queue.result_future.result()
    if request.output is not None:
        attempts = OutputRetries(Context(), request.output, 0)
        attempts.should_retry(message)
        message = attempts.result()
    if budgets is not None and message.usage.total_tokens:
        charge_message(message, request, budgets, ledger_path())
    return message


class _Replay:
    """A provider that answers with a result."""

    def __init__(self, wire: Wire, result: RowResult, tier: str | None) -> None:
        self.api: str = wire.api
        self._tier = tier
        self._wire = wire
        self._result = result

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """See `Provider`."""
        result = self._result
        if result.body is None:
            assert result.error is not None
            error = result.error.model_copy()
            error.provider = request.provider
            raise ProviderError(error)
        decoder = self._wire.decoder()
        deltas: list[Delta] = [ResponseInfo(api=decoder.api)]
        decoded, error_after = decode_document(decoder, result.body)
        deltas += decoded
        if self._tier is not None:
            _set_tier(deltas, self._tier)
        if request.tool_names:
            restore_tool_names(deltas, request)
        yield deltas
        if error_after is not None:
            raise error_after


def _set_tier(deltas: list[Delta], tier: str) -> None:
    """Mark the usage as that of a tier, whatever the provider calls it."""
    reports = [delta for delta in deltas if isinstance(delta, UsageReport)]
    for report in reports:
        report.service_tier = tier
    if not reports:
        end = next((n for n, delta in enumerate(deltas) if isinstance(delta, Finish)), len(deltas))
        deltas.insert(end, UsageReport(service_tier=tier))


def _missing_error(status: JobStatus, rejected: bool) -> ErrorInfo:
    """Return the error of a row without a result."""
    if rejected:
        text = "Not sent: the provider rejected other rows of the same batch. Correct them."
        return error_info(ErrorKind.ABORTED, text, retryable=True)
    match status.outcome:
        case "expired":
            text = "The batch expired before the provider answered this row."
            return error_info(ErrorKind.TIMEOUT, text)
        case "cancelled":
            text = "The batch was cancelled before the provider answered this row."
            return error_info(ErrorKind.ABORTED, text, retryable=True)
        case "failed":
            text = f"The provider rejected the batch ({status.status}) without a reason."
            return error_info(ErrorKind.BAD_REQUEST, text)
        case _:
            text = "The provider's results do not contain this row."
            return error_info(ErrorKind.INCOMPLETE, text)
