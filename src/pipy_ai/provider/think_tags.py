"""Separate thinking from the answer if a host sends both as text: `<think>…</think>` or similar.

Some hosts pass on the raw text of the model: vLLM and SGLang without `--reasoning-parser`,
llama.cpp with `--reasoning-format none`, Groq with `reasoning_format: raw`, MiniMax, and resellers
of open models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from .deltas import (
    AudioData,
    CitationReport,
    Delta,
    ImageData,
    RedactedThinking,
    ServerToolFragment,
    ServerToolOutput,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
)

if TYPE_CHECKING:
    from ..registry import ModelRegistry

TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",  # Amazon Nova (vercel/ai#7078)
    "<thought>": "</thought>",  # EXAONE Deep
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "[THINK]": "[/THINK]",  # Magistral (RooCodeInc/Roo-Code#8522)
}
# Other models write these only if the prompt asks for them, as part of the answer.
_FAMILY_OF_TAG = {"<thinking>": "nova", "<thought>": "exaone"}
_SPACE = " \t\r\n"
_OTHER_CONTENT = (
    Thinking, ThinkingSignature, RedactedThinking, ToolFragment, CitationReport,
    ServerToolFragment, ServerToolOutput, ImageData, AudioData,
)  # fmt: skip


class _State(Enum):
    START = 1  # only white space so far
    THINKING = 2
    GAP = 3  # white space between thinking and answer
    ANSWER = 4


@lru_cache(maxsize=16)
def _tags_of(model_id: str | None) -> dict[str, str]:
    """Return the tags that a model may write; with None, all of them."""
    return {
        tag: closing_tag
        for tag, closing_tag in TAGS.items()
        if model_id is None or _FAMILY_OF_TAG.get(tag, "") in model_id.lower()
    }


class ThinkTagParser:
    """Converts the thinking at the start of a streamed text to `Thinking` deltas.

    Only an opening tag at the very start counts, so tags in the answer stay text. The white space
    around thinking belongs to the tags. The result does not depend on where the text is split.

    With `opened` the prompt ended with the opening tag, so that the text begins with thinking.
    `applies` is called when an opening tag is found and returns whether to parse it. With
    `model_id` only the tags that such a model writes are parsed.
    """

    def __init__(
        self,
        opened: bool = False,
        applies: Callable[[], bool] = lambda: True,
        model_id: str | None = None,
    ) -> None:
        self._tags = _tags_of(model_id)
        self._state = _State.START
        self._opened = opened
        self._applies = applies
        self._closing_tag = "</think>"
        self._has_thinking = False
        self._held = ""  # the start of what may be a tag, or white space that may precede one

    @property
    def in_answer(self) -> bool:
        """Whether the rest of the text is the answer, so that nothing is left to parse."""
        return self._state is _State.ANSWER

    def feed(self, deltas: Iterable[Delta]) -> list[Delta]:
        """Return the deltas with the text before the answer parsed."""
        parsed: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, Text):
                self._parse(delta, parsed)
                continue
            if self._state is _State.START and isinstance(delta, _OTHER_CONTENT):
                parsed += self.finish()
                self._state = _State.ANSWER  # the host separates thinking itself
            parsed.append(delta)
        return parsed

    def finish(self) -> list[Delta]:
        """Return the text that was held back, at the end of the response."""
        held, self._held = self._held, ""
        if self._state is _State.THINKING or self._opened:
            held = held.rstrip(_SPACE) if self._has_thinking else held.strip(_SPACE)
            return [Thinking(held)] if held else []
        return [Text(held)] if held else []

    def _parse(self, delta: Text, parsed: list[Delta]) -> None:
        text = self._held + delta.text
        self._held = ""
        if self._state is _State.START:
            text = self._parse_start(text)
        if self._state is _State.THINKING:
            text = self._parse_thinking(text, parsed)
        if self._state is _State.GAP and (text := text.lstrip(_SPACE)):
            self._state = _State.ANSWER
        if self._state is _State.ANSWER and text:
            parsed.append(Text(text, delta.block))

    def _parse_start(self, text: str) -> str:
        """Look for an opening tag and return the text that follows it."""
        content = text.lstrip(_SPACE)
        for tag, closing_tag in self._tags.items():
            if content.startswith(tag) and self._applies():
                self._state, self._closing_tag = _State.THINKING, closing_tag
                return content[len(tag) :]
            if tag.startswith(content):
                self._held = text
                return ""
        self._state = _State.THINKING if self._opened else _State.ANSWER
        return text

    def _parse_thinking(self, text: str, parsed: list[Delta]) -> str:
        """Add thinking up to the closing tag and return the text that follows it."""
        if not self._has_thinking:
            text = text.lstrip(_SPACE)
        thinking, closing_tag, rest = text.partition(self._closing_tag)
        if closing_tag:
            self._state = _State.GAP
        else:
            thinking = text[: len(text) - _overlap(text, self._closing_tag)]
        thinking = thinking.rstrip(_SPACE)
        if thinking:
            self._has_thinking = True
            parsed.append(Thinking(thinking))
        if not closing_tag:
            self._held = text[len(thinking) :]
        return rest


def is_known_reasoning_model(model_id: str) -> bool:
    """Return whether most providers of a model of this name list it as a reasoning model."""
    from ..registry import get_registry

    return _is_listed(get_registry(), model_id.rpartition("/")[2])


@lru_cache(maxsize=1)  # a self-hosted server usually has one model
def _is_listed(registry: ModelRegistry, name: str) -> bool:
    from ..registry.index import FLAG_BITS, FLAGS
    from ..registry.names import normalize_name

    normalized = normalize_name(name)
    listed = [
        bool(row[FLAGS] & FLAG_BITS["reasoning"])
        for full_name, row in registry.rows().items()
        if normalize_name(full_name.rpartition("/")[2]) == normalized
    ]
    return sum(listed) * 2 > len(listed)


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of the text may be the start of the tag."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
