"""Print the errors and warnings of messages, and the notice that the demo model answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .terminal import warn, write_stderr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...types import AssistantMessage

_DEMO_MODEL = "local/smollm2"
_shown = False


def show_demo_notice(model: str) -> None:
    """Write the notice about the demo model to stderr if it answers, once per process."""
    global _shown
    if model != _DEMO_MODEL or _shown:
        return
    from ...provider.local import DEMO_MODEL_NOTICE

    _shown = True
    write_stderr(f"{DEMO_MODEL_NOTICE}\n")


def ending_notices(message: AssistantMessage) -> list[str]:
    """Return a notice if an answer hit its token limit, or is empty."""
    if message.error is not None:
        return []
    is_empty = not (message.text.strip() or message.tool_calls or message.images or message.audio)
    if message.stop_reason == "length":
        what = "the answer was truncated at its token limit"
        if is_empty:
            what = "the token limit was reached before the answer started"
        return [f"{what}; --max-tokens N allows more"]
    if is_empty:
        return ["the answer is empty"]
    return []


def warn_error(message: AssistantMessage, api_base: str | None, prefix: str = "") -> None:
    """Print the error of a message, and below it what usually helps, on stderr."""
    if message.error is None:
        return
    from .error_advice import error_advice  # only after a failure

    warn(f"{prefix}{message.error.message}")
    if advice := error_advice(message, api_base):
        warn(f"{prefix}{advice}")


def is_unrecorded(message: AssistantMessage) -> bool:
    """Return whether the ledger could not be written."""
    return any(warning.code == "ledger" for warning in message.warnings)


def warning_texts(messages: Iterable[AssistantMessage]) -> list[str]:
    """Return each warning of the messages once, except the notice about the demo model."""
    warnings = [warning for message in messages for warning in message.warnings]
    return list(dict.fromkeys(w.message for w in warnings if w.code != "demo_model"))
