"""Which model a name means. Pure, and independent of the order of anything.

`provider/id` is that model and no other: a name with a provider in front is never moved to another
one. A bare name means the provider that made the model; failing that, the only host with a key, or
the only host at all. Everything else is an error that lists the candidates.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# Whose model a bare name means, in this order.
FIRST_PARTIES = (
    "openai",
    "anthropic",
    "google",
    "xai",
    "mistral",
    "deepseek",
    "cohere",
    "alibaba",
    "moonshotai",
    "zai",
    "minimax",
    "perplexity",
    "xiaomi",
    "stepfun",
    "nova",
    "llama",
    "inception",
    "upstage",
    "sarvam",
    "sakana",
    "poolside",
    "morph",
    "v0",
    "bailing",
    "tencent-tokenhub",
)

# LiteLLM's names of providers that models.dev calls otherwise.
LITELLM_NAMES = {
    "bedrock": "amazon-bedrock",
    "cohere_chat": "cohere",
    "dashscope": "alibaba",
    "fireworks_ai": "fireworks-ai",
    "gemini": "google",
    "github": "github-models",
    "gmi": "gmicloud",
    "lm_studio": "lmstudio",
    "meta_llama": "llama",
    "moonshot": "moonshotai",
    "novita": "novita-ai",
    "nvidia_nim": "nvidia",
    "together_ai": "togetherai",
    "vercel_ai_gateway": "vercel",
    "vertex_ai": "google-vertex",
}

_FOLDED = re.compile(r"[._@:]")
_DATE = re.compile(r"\d{8}|\d{4}-\d{2}-\d{2}")


class AmbiguousModelError(ValueError):
    """A name that several hosts have, none of them the maker's.

    `candidates` are full names; any of them is accepted.
    """

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        self.name = name
        self.candidates: list[str] = list(candidates)
        shown = ", ".join(self.candidates[:8])
        more = len(self.candidates) - 8
        super().__init__(
            f"{name!r} may mean {shown}{f' and {more} more' if more > 0 else ''}; "
            "write provider/model, or set the key of one of them only"
        )

    def __reduce__(self) -> tuple[type, tuple[str, list[str]]]:
        return type(self), (self.name, self.candidates)


def fold(name: str) -> str:
    """A name without what people write differently: case, and `.` `_` `@` `:` for `-`."""
    return _FOLDED.sub("-", name.lower())


class Names:
    """The full names of a catalogue."""

    def __init__(self, names: Iterable[str]) -> None:
        self._ids: dict[str, dict[str, str]] = {}  # provider → folded id → id
        self._hosts: dict[str, list[str]] = {}  # bare id → providers
        self._exact = set(names)
        self._near: dict[str, list[str]] = {}
        for full in sorted(self._exact):
            provider, _, identity = full.partition("/")
            self._ids.setdefault(provider, {}).setdefault(fold(identity), identity)
            self._hosts.setdefault(identity, []).append(provider)

    def __contains__(self, full: object) -> bool:
        return full in self._exact

    def of(self, provider: str) -> list[str]:
        """The full names of one provider."""
        return sorted(name for name in self._exact if name.partition("/")[0] == provider)

    def resolve(
        self, name: str, providers: Iterable[str], has_key: Callable[[str], bool]
    ) -> tuple[str | None, bool]:
        """The full name that `name` means, and whether it was guessed (no maker, one host).

        Raises:
            AmbiguousModelError: several hosts, and no key or several keys for them.
        """
        provider, slash, rest = name.partition("/")
        if slash:
            if name in self:
                return name, False
            known = set(providers)
            provider = provider if provider in known else provider.lower()
            provider = provider if provider in known else LITELLM_NAMES.get(provider, provider)
            if provider in known:
                return self._within(provider, rest), False
            return self._elsewhere(name, has_key, exact=True)
        for find in (self._same, self._folded, self._alias):
            for provider in FIRST_PARTIES:
                if found := find(provider, name):
                    return found, False
        return self._elsewhere(name, has_key, exact=False)

    def _within(self, provider: str, rest: str) -> str | None:
        """A name within a provider, which it never leaves."""
        return (
            self._same(provider, rest)
            or self._same(provider, f"{provider}/{rest}")
            or self._folded(provider, rest)
            or self._alias(provider, rest)
        )

    def _same(self, provider: str, identity: str) -> str | None:
        full = f"{provider}/{identity}"
        return full if full in self._exact else None

    def _folded(self, provider: str, identity: str) -> str | None:
        found = self._ids.get(provider, {}).get(fold(identity))
        return f"{provider}/{found}" if found else None

    def _alias(self, provider: str, identity: str) -> str | None:
        """`name-latest`, `name-0`, or the newest `name-<date>`."""
        ids = self._ids.get(provider, {})
        stem = fold(identity) + "-"
        for suffix in ("latest", "0"):
            if found := ids.get(stem + suffix):
                return f"{provider}/{found}"
        dated = [key for key in ids if key.startswith(stem) and _DATE.fullmatch(key[len(stem) :])]
        newest = max(dated, key=lambda key: key[len(stem) :].replace("-", ""), default=None)
        return f"{provider}/{ids[newest]}" if newest else None

    def _elsewhere(
        self, name: str, has_key: Callable[[str], bool], exact: bool
    ) -> tuple[str | None, bool]:
        """The host of a model whose maker serves it not, or under another name."""
        found = [f"{host}/{name}" for host in self._hosts.get(name, ())]
        if not found and not exact:
            wanted = fold(name)
            found = sorted(
                f"{host}/{identity}"
                for host, ids in self._ids.items()
                for key, identity in ids.items()
                if key == wanted or key.endswith(f"/{wanted}")
            )
        if not found:
            return None, False
        keyed = [full for full in found if has_key(full.partition("/")[0])]
        if len(keyed) == 1:
            return keyed[0], exact  # a maker's name in front is worth a word
        if len(found) == 1:
            return found[0], True
        raise AmbiguousModelError(name, keyed or found)

    def suggest(self, name: str, count: int = 3) -> list[str]:
        """Full names that look like `name`, the most alike first."""
        if name not in self._near:
            if len(self._near) > 200:
                self._near.clear()
            self._near[name] = self._look_for(name, count)
        return self._near[name]

    def _look_for(self, name: str, count: int) -> list[str]:
        import difflib

        provider, slash, rest = name.partition("/")
        near = self.of(provider) if slash else []
        if near:
            short = {full.partition("/")[2]: full for full in near}
            alike = difflib.get_close_matches(rest, short, count, 0.5)
            return [short[identity] for identity in alike]
        makers = [full for full in sorted(self._exact) if full.partition("/")[0] in FIRST_PARTIES]
        short = {full.partition("/")[2]: full for full in reversed(makers)}
        alike = difflib.get_close_matches(rest if slash else name, short, count, 0.6)
        return [short[identity] for identity in alike]
