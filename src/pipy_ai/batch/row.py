"""One row of a batch, and the types of the functions that send and receive rows."""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
)
from dataclasses import dataclass, field
from typing import TypeAlias

from ..context import Prompt
from ..types import AssistantMessage, Usage

SendRow: TypeAlias = "Callable[[Row], Awaitable[AssistantMessage]]"


IndexedMessage: TypeAlias = tuple[int, AssistantMessage]


@dataclass(slots=True)
class Row:
    """A question under way."""

    index: int
    context: Prompt
    retries: int = 0
    refusals: int = 0
    send_count: int = 0
    answers_at_last_failure: int = (
        0  # answers that the batch had when this failed last, or was added
    )
    last_failure: AssistantMessage | None = None  # what came of the last try
    failed_usage: list[Usage] = field(default_factory=list)  # by tries that broke off
