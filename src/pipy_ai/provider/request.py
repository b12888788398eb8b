"""What is asked of whom, and what the asking would look like. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ErrorKind, ProviderError, error_info
from ..options import SimpleStreamOptions, ThinkingLevel
from ..registry.routing import Route
from ..types import Context, Warning

if TYPE_CHECKING:
    from ..output.schema import Output


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
    def accepts_images(self) -> bool | None:
        """Whether the model takes images; None: not known."""
        return self._accepts_input("image")

    @property
    def accepts_documents(self) -> bool | None:
        """Whether the model takes PDFs; None: not known.

        The catalogue is behind here: all of OpenAI's models that see read PDFs, and OpenRouter
        reads them to those that do not.
        """
        if self.backend == "openrouter":
            return True
        accepts_pdf = self._accepts_input("pdf")
        return accepts_pdf or self.accepts_images if self.backend == "openai" else accepts_pdf

    def _accepts_input(self, modality: str) -> bool | None:
        modalities = (self.record or {}).get("modalities")
        input_modalities = modalities.get("input") if isinstance(modalities, Mapping) else None
        return modality in input_modalities if isinstance(input_modalities, list) else None

    @property
    def has_tools(self) -> bool:
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


def bad_request_error(request: Request, text: str) -> ProviderError:
    """The error of a request that cannot be."""
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))
