"""One row of a batch, and the types of the functions that send and receive rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..context import Prompt
from ..types import AssistantMessage, Usage

SendRow: TypeAlias = "Callable[[Row], Awaitable[AssistantMessage]]"
IndexedMessage: TypeAlias = tuple[int, AssistantMessage]


@dataclass(frozen=True, slots=True)
class RowRequest:
    """A prompt with a model and options of its own, which replace those of the batch."""

    prompt: Prompt
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Row:
    """A prompt with the history of its attempts."""

    index: int
    request: RowRequest
    retries: int = 0
    refusals: int = 0  # while other rows were answered
    send_count: int = 0
    # The batch's number of answers when this row last failed, or when it was added.
    answers_at_last_failure: int = 0
    last_failure: AssistantMessage | None = None
    failed_usage: list[Usage] = field(default_factory=list)
