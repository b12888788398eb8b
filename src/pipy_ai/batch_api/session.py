"""Submit rows to one model, and read the results of its jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._requests import ModelSpec, request_builder
from ..accounting.budget import Budget, active_budgets
from ..accounting.cost import price_function
from ..context import Prompt
from ..errors import ErrorInfo, ErrorKind, ProviderError, error_info
from ..options import Options
from ..provider.request import Request
from ..registry import Model
from ..tokens import estimate_input_tokens
from ..types import AssistantMessage, Context, ServerTool, Tool, Usage, UserMessage
from .client import BatchClient
from .handle import BatchJob
from .jobs import JobRunner
from .requests import Placement, RequestWriter
from .results import BATCH_TIER, JobResults, index_results
from .vendor import JobStatus, Vendor
from .vendors import connect

if TYPE_CHECKING:
    from ..output.schema import OutputMode


class ModelSession:
    """Everything about one model: the options of its rows, and its provider's batch API."""

    def __init__(
        self,
        model: ModelSpec,
        output: Any,
        output_mode: OutputMode | None,
        options: Options,
        takes_tier: bool = False,
    ) -> None:
        """Check the arguments. Nothing is sent.

        `takes_tier`: it is not for a batch, so the option `service_tier` is accepted.

        Raises:
            TypeError: As `complete`.
            ValueError: As `complete`; `model` is a list with fallbacks; a service tier.
        """
        if not isinstance(model, str | Model):
            models = list(model)
            if len(models) != 1:
                raise ValueError(
                    "a batch supports one model; fallbacks work only for requests sent at once"
                )
            model = models[0]
        if not takes_tier:
            _reject_tier(options)
        self.model: str | Model = model
        self._output = output
        self._output_mode: OutputMode | None = output_mode
        # Retries and timeouts are those of calls to the batch API. Results are read as answers to
        # one request, which a cache would answer alike.
        self._options: dict[str, Any] = {
            **options, "max_retries": 0, "timeout": None, "idle_timeout": None, "cache": False,
            "raise_on_error": False,
        }  # fmt: skip
        self._build: Callable[[Prompt], Request] = self._builder(self._options)
        self.template: Request = self.build(
            Context(messages=[UserMessage(content="-", timestamp=0)])
        )
        self.name: str = self.template.model
        self._connection: tuple[BatchClient, Vendor] | None = None

    def build(self, prompt: Prompt, row_options: Any = None) -> Request:
        """Return the request of a row."""
        if not row_options:
            return self._build(prompt)
        _reject_tier(row_options)
        return self._builder({**self._options, **row_options})(prompt)

    def _builder(self, options: Any) -> Callable[[Prompt], Request]:
        return request_builder(self.model, options, self._output, self._output_mode)

    async def connect(self) -> tuple[BatchClient, Vendor]:
        """Return a client and the batch API. Nothing is sent.

        Raises:
            ProviderError: The provider has no batch API that pipy-ai supports, or its key is
                missing.
        """
        if self._connection is None:
            self._connection = await connect(self.template)
        return self._connection

    async def runner(self, job: BatchJob, save: Callable[[], object], poll_s: float) -> JobRunner:
        """Return a runner of one of the model's jobs."""
        client, vendor = await self.connect()
        return JobRunner(client, vendor, job, save, poll_s)

    async def results(
        self,
        job: BatchJob,
        status: JobStatus,
        path: Path,
        lost: ErrorInfo | None,
        charge: bool = True,
    ) -> JobResults:
        """Return the results of a job, from a file that was downloaded; see `JobResults`."""
        client, vendor = await self.connect()
        tools: list[Tool | ServerTool] = [Tool.model_validate(tool) for tool in job.tools]
        prompt = Context(messages=[UserMessage(content="-", timestamp=0)], tools=tools or None)
        index = index_results(path, job, vendor)
        return JobResults(client, self.build(prompt), vendor, index, status, lost, charge)

    def failed_message(self, error: ErrorInfo) -> AssistantMessage:
        """Return the message of a row that could not be sent."""
        output = self.template.output
        message_class = AssistantMessage if output is None else output.message_class
        from ..types import StopReason

        return message_class(error=error, error_message=error.message, stop_reason=StopReason.ERROR)


def _reject_tier(options: Any) -> None:
    """Raise `ValueError` for a service tier: a batch has its own, and its own price."""
    extra = options.get("extra") or {}
    tier = options.get("service_tier") or extra.get("service_tier") or extra.get("serviceTier")
    if tier not in (None, "auto"):
        raise ValueError(
            f"service_tier={tier!r} has no effect in a batch, which is a tier of its own, at half"
            " price: leave it out, or send the requests at once"
        )


class Reservation:
    """What a batch is estimated to cost at most, reserved in the active budgets."""

    def __init__(self, session: ModelSession) -> None:
        self.usd: float = 0.0
        self.tokens: int = 0
        self._known = True
        self._session = session
        self._budgets: tuple[Budget, ...] = tuple(dict.fromkeys(active_budgets.get()))
        self._price = price_function(session.template) if self._budgets else None

    def add(self, request: Request) -> None:
        """Add a row: its prompt, and the longest answer that `max_tokens` allows."""
        if not self._budgets:
            return
        usage = Usage(
            input=estimate_input_tokens(request.context),
            output=request.options.max_tokens or 0,
            service_tier=BATCH_TIER,
        )
        cost = None if self._price is None else self._price(usage)
        self._known = self._known and cost is not None
        self.usd += cost or 0.0
        self.tokens += usage.input + usage.output

    def reserve(self) -> None:
        """Reserve the sum in all budgets.

        Raises:
            ProviderError: A budget does not cover it (kind `budget`).
        """
        model = self._session.name
        usd = self.usd if self._known else None
        for number, budget in enumerate(self._budgets):
            refusal = budget.admit(self, model, usd, self.tokens, "The batch")
            if refusal is not None:
                for admitted in self._budgets[:number]:
                    admitted.release(self)
                raise ProviderError(error_info(ErrorKind.BUDGET, refusal))

    def release(self) -> None:
        """Undo the reservation: the rows are counted one by one, or were not sent."""
        for budget in self._budgets:
            budget.release(self)

    def stop(self, reason: str) -> None:
        """Do nothing: the provider works on the batch, which is paid for."""


class Submission:
    """Collects the requests of rows, and creates their jobs."""

    def __init__(
        self,
        session: ModelSession,
        client: BatchClient,
        vendor: Vendor,
        path_of: Callable[[BatchJob], Path],
    ) -> None:
        self._session = session
        self._writer = RequestWriter(client, vendor, path_of)
        self.reservation = Reservation(session)

    @property
    def jobs(self) -> list[BatchJob]:
        """The jobs, whose requests are in files."""
        return self._writer.jobs

    def add(self, prompt: Prompt, row_options: Any = None) -> Placement | ErrorInfo:
        """Write the request of a row. Return where it is, or why it cannot be sent."""
        try:
            request = self._session.build(prompt, row_options)
            placement = self._writer.add(request)
        except ProviderError as failure:
            return failure.error
        except (TypeError, ValueError) as error:  # an invalid prompt must not end the batch
            return error_info(ErrorKind.BAD_REQUEST, str(error))
        self.reservation.add(request)
        return placement

    def close(self) -> None:
        """Finish the files, and reserve the cost in the active budgets.

        Raises:
            ProviderError: A budget does not cover it.
            OSError: A file cannot be written.
        """
        self._writer.close()
        if self.jobs:
            self.reservation.reserve()

    def discard(self) -> None:
        """Delete the files; nothing was sent."""
        self._writer.discard()
