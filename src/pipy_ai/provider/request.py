"""What is asked of whom, and what the asking would look like. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..registry.routing import Route
from ..types import Context, SimpleStreamOptions, ThinkingLevel, Warning

if TYPE_CHECKING:
    from ..output import Output


@dataclass(slots=True)
class Request:
    """One request: `provider/model_id`, what to say, how to say it.

    `record` is the model's entry in the catalogue, as models.dev has it, when there is one;
    `route` is the way to it. `output` is the type that the answer shall have, if one was asked for.
    `warnings` is open: whoever clamps, ignores or replaces something adds a line, which ends up
    in `message.warnings`.
    """

    provider: str
    model_id: str
    context: Context
    options: SimpleStreamOptions
    record: Mapping[str, Any] | None = None
    route: Route = field(default_factory=Route)
    warnings: list[Warning] = field(default_factory=list)
    output: Output | None = None

    @property
    def model(self) -> str:
        """The full name."""
        return f"{self.provider}/{self.model_id}" if self.model_id else self.provider

    @property
    def backend(self) -> str:
        """LiteLLM's name of the provider."""
        return self.route.backend or self.provider

    @property
    def reasoning(self) -> ThinkingLevel | None:
        """The level asked for; None: the model's own default."""
        return self.options.reasoning

    @property
    def vision(self) -> bool | None:
        """Whether the model takes images; None: not known."""
        return self._reads("image")

    @property
    def documents(self) -> bool | None:
        """Whether the model takes PDFs; None: not known.

        The catalogue is behind here: all of OpenAI's models that see read PDFs, and OpenRouter
        reads them to those that do not.
        """
        if self.backend == "openrouter":
            return True
        known = self._reads("pdf")
        return known or self.vision if self.backend == "openai" else known

    def _reads(self, kind: str) -> bool | None:
        modalities = (self.record or {}).get("modalities")
        reads = modalities.get("input") if isinstance(modalities, Mapping) else None
        return kind in reads if isinstance(reads, list) else None

    @property
    def offers_tools(self) -> bool:
        """Whether there is anything to call."""
        return bool(self.context.tools) or "tools" in (self.options.extra or {})

    def warn(self, code: str, message: str) -> None:
        """Tell the caller about something that is done differently than asked."""
        warning = Warning(code=code, message=message)
        if warning not in self.warnings:
            self.warnings.append(warning)


@dataclass(frozen=True, slots=True)
class Preview:
    """A request that was not sent: HTTP method, URL, headers (keys masked) and JSON body.

    `method` and `url` are empty where no HTTP request can be shown; `body` then is what the
    backend would be called with.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: dict[str, Any]
    warnings: tuple[Warning, ...] = ()
