"""Resolve the name of a model. The result does not depend on the order of the catalogue.

`provider/id` always means the model of that provider. A bare name means the model of its vendor;
otherwise, as a guess that is reported, that of the only provider with a key, or of the only
provider. Any other name is an error that lists the candidates.

A dated or tagged name that is not listed, such as `gpt-5-2025-08-07` or `openai/gpt-5:nitro`, has
the record of its base model. An exact name takes precedence.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from dataclasses import dataclass
else:
    from ._dataclass import dataclass

# The providers at which a bare name is looked up, in this order.
FIRST_PARTY_PROVIDERS = (
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

# LiteLLM's names of providers → those of models.dev, where they differ.
LITELLM_PROVIDER_ALIASES = {
    "bedrock": "amazon-bedrock",
    "cohere_chat": "cohere",
    "dashscope": "alibaba",
    "fireworks_ai": "fireworks-ai",
    "gemini": "google",
    "github": "github-models",
    "github_copilot": "github-copilot",
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

_SEPARATOR_CHARS = "._@:"
_SEPARATORS = re.compile(f"[{_SEPARATOR_CHARS}]")
_DATE_SUFFIX = re.compile(r"\d{8}|\d{4}-\d{2}-\d{2}")


# Names of variants of a model: the provider, a pattern whose group is the name of the base model,
# and whether its price is that of the base model.
_NAME_VARIANTS = (
    (r".*", r"ft:([^:]+):.*", False),
    (r".*", r"(.+?)-(?:\d{4}-\d\d-\d\d|\d{8})", True),
    (r".*", r"(.+)-latest", True),
    (r"google-vertex.*", r"(.+)@(?:latest|default|\d{8})", True),
    (r"google.*", r"(.+)-00\d", True),
    (r"google.*", r"(.+?)-\d\d-(?:\d\d|20\d\d)", True),
    (r"google.*", r"(.+)-preview-\d\d-20\d\d", True),
    # `gemini-2.5-flash-preview-04-17` was cheaper than the released model.
    (r"google.*", r"(.+)-preview-\d\d-\d\d", False),
    (r"xai", r"(grok-.+?)-\d{4}", True),
    (r"openai|azure", r"(gpt-4(?=-0[36])|gpt-3\.5-turbo(?=-0125))-\d{4}", True),
    (r"openai|azure", r"(gpt-3\.5-turbo)-\d{4}", False),
    (r"amazon-bedrock", r"arn:aws[\w-]*:bedrock:.*/(.+)", True),
    (r"amazon-bedrock", r"(?:converse|converse_like|invoke|[a-z-]+-\d)/(.+)", True),
    (r"amazon-bedrock", r"(.+-v\d+):\d+(?::\w+)?", True),
    (r"amazon-bedrock", r"(?:us|us-gov|eu|apac|ap|au|ca|in|jp|me|sa|global)\.(.+)", True),
    (r"amazon-bedrock", r"(.+?)(?:-v\d+)?(?::\d+(?::\w+)?)", True),
)
_TAG_VARIANTS = (
    # OpenRouter's ways to choose a host, and variants at the same price.
    (r".*", r"(.+):(?:nitro|floor|exacto|thinking|extended|beta)", True),
    (r"ollama-cloud", r"(.+:[\w.]+)-[\w.-]+", False),  # gpt-oss:20b-q4
    (r"(?!amazon-bedrock).*", r"(.+):[\w.-]+", False),  # :free, :online, Ollama's :7b-instruct-q4
)
_VARIANTS = (*_NAME_VARIANTS, *_TAG_VARIANTS)
_GOOGLE_PREFIX = re.compile(r"(?:publishers/[^/]+/)?models/")


def clean_name(name: str) -> str:
    """Return a name in the usual form: without spaces around it and Google's `models/`.

    A bare ARN is a model of Amazon Bedrock.

    Example:
        >>> clean_name("models/gemini-2.5-flash")
        'gemini-2.5-flash'
    """
    name = name.strip()
    if name.startswith("arn:"):
        return f"amazon-bedrock/{name}"
    provider, slash, model_id = name.partition("/")
    if slash and (provider.startswith("google") or provider in ("gemini", "vertex_ai")):
        return f"{provider}/{_GOOGLE_PREFIX.sub('', model_id, count=1)}"
    return _GOOGLE_PREFIX.sub("", name, count=1) if _GOOGLE_PREFIX.match(name) else name


@dataclass
class BaseName:
    """The listed model whose record a variant has, and whether its price is the same."""

    full_name: str = ""
    same_price: bool = True


class AmbiguousModelError(ValueError):
    """A bare model name is offered by several providers, and none of them is the vendor.

    `candidates` are the full names to choose from.
    """

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        self.name = name
        self.candidates: list[str] = list(candidates)
        shown = ", ".join(self.candidates[:8])
        more = len(self.candidates) - 8
        super().__init__(
            f"{name!r} may mean {shown}{f' and {more} more' if more > 0 else ''}; "
            "write provider/model, or set the key of only one of them"
        )

    def __reduce__(self) -> tuple[type, tuple[str, list[str]]]:
        return type(self), (self.name, self.candidates)


def normalize_name(name: str) -> str:
    """Normalize the spelling of a name: lower case, and `-` for `.`, `_`, `@` and `:`."""
    return _SEPARATORS.sub("-", name.lower())


def names_with_prefix(sorted_names: list[str], prefix: str) -> list[str]:
    """Return the names that begin with `prefix`, without looking at all of them."""
    first = bisect_left(sorted_names, prefix)
    end = bisect_right(sorted_names, prefix, first, key=lambda name: name[: len(prefix)])
    return sorted_names[first:end]


def first_party_names(sorted_names: list[str]) -> list[str]:
    """Return the full names of the models of first-party providers, sorted."""
    return [
        name
        for provider in sorted(FIRST_PARTY_PROVIDERS)
        for name in names_with_prefix(sorted_names, f"{provider}/")
    ]


class NameIndex:
    """An index of the full names of a catalogue."""

    def __init__(self, names: Iterable[str]) -> None:
        self._sorted_names = sorted(names)
        self._full_names = set(self._sorted_names)
        self._ids_by_provider: dict[str, dict[str, str]] = {}  # those that were looked up
        self._lines = "\n".join([*self._sorted_names, ""])
        self._normalized_lines = ""
        self._suggestions: dict[str, list[str]] = {}

    def __contains__(self, full_name: object) -> bool:
        return full_name in self._full_names

    def names_of_provider(self, provider: str) -> list[str]:
        """Return the full names of one provider, sorted."""
        return names_with_prefix(self._sorted_names, f"{provider}/")

    def _ids(self, provider: str) -> dict[str, str]:
        """Return the ids of a provider by their normalized spelling."""
        ids = self._ids_by_provider.get(provider)
        if ids is None:
            ids = self._ids_by_provider[provider] = {}
            for full_name in self.names_of_provider(provider):
                model_id = full_name.partition("/")[2]
                ids.setdefault(normalize_name(model_id), model_id)
        return ids

    def resolve(
        self, name: str, providers: Iterable[str], has_key: Callable[[str], bool]
    ) -> tuple[str | None, bool]:
        """Return the full name that `name` stands for, and whether it is a guess.

        It is a guess if the vendor does not offer the model. A variant of a listed model, which
        `base_model` returns, keeps its name.

        Raises:
            AmbiguousModelError: Several providers offer it, and none or several have a key.
        """
        provider, slash, model_id = name.partition("/")
        if slash:
            if name in self:
                return name, False
            known_providers = set(providers)
            provider = provider if provider in known_providers else provider.lower()
            provider = (
                provider
                if provider in known_providers
                else LITELLM_PROVIDER_ALIASES.get(provider, provider)
            )
            if provider in known_providers:
                return self._match_in_provider(provider, model_id), False
            return self._match_other_providers(name, has_key, exact=True)
        for lookup in (
            self._match_exact, self._match_normalized, self._match_latest, self._match_bare_variant
        ):  # fmt: skip
            for provider in FIRST_PARTY_PROVIDERS:
                if match := lookup(provider, name):
                    return match, False
        return self._match_other_providers(name, has_key, exact=False)

    def _match_in_provider(self, provider: str, model_id: str) -> str | None:
        """Look up a name at one provider only."""
        return (
            self._match_exact(provider, model_id)
            or self._match_exact(provider, f"{provider}/{model_id}")
            or self._match_normalized(provider, model_id)
            or self._match_latest(provider, model_id)
            or self._match_variant(provider, model_id)
        )

    def _match_variant(self, provider: str, model_id: str) -> str | None:
        full_name = f"{provider}/{model_id}"
        return full_name if self.base_model(full_name) else None

    def _match_bare_variant(self, provider: str, model_id: str) -> str | None:
        full_name = f"{provider}/{model_id}"
        return full_name if self.base_model(full_name, _NAME_VARIANTS) else None

    def base_model(
        self, full_name: str, variants: Sequence[tuple[str, str, bool]] = _VARIANTS
    ) -> BaseName | None:
        """Return the listed model that an unlisted name is a variant of, if it is one."""
        return None if full_name in self else self._find_base(full_name, variants)

    def root_name(self, full_name: str) -> str:
        """Return the listed model that a name is a variant of, even if it is listed itself."""
        base = self._find_base(full_name, _VARIANTS)
        return full_name if base is None else base.full_name

    def _find_base(
        self, full_name: str, variants: Sequence[tuple[str, str, bool]]
    ) -> BaseName | None:
        provider, _, model_id = full_name.partition("/")
        if not self._ids(provider):
            return None
        pending, same_price_by_id = [model_id], {model_id: True}
        while pending:  # the names with the least removed first
            variant = pending.pop(0)
            if variant != model_id and (
                match := self._match_exact(provider, variant)
                or self._match_normalized(provider, variant)
                or self._match_latest(provider, variant)
            ):
                return BaseName(match, same_price_by_id[variant])
            for providers, pattern, same_price in variants:
                found = re.fullmatch(pattern, variant)
                if found and re.fullmatch(providers, provider) and found[1] not in same_price_by_id:
                    same_price_by_id[found[1]] = same_price and same_price_by_id[variant]
                    pending.append(found[1])
        return None

    def _match_exact(self, provider: str, model_id: str) -> str | None:
        full_name = f"{provider}/{model_id}"
        return full_name if full_name in self._full_names else None

    def _match_normalized(self, provider: str, model_id: str) -> str | None:
        match = self._ids(provider).get(normalize_name(model_id))
        return f"{provider}/{match}" if match else None

    def _match_latest(self, provider: str, model_id: str) -> str | None:
        """Look for `name-latest`, `name-0`, or the newest `name-<date>`."""
        ids = self._ids(provider)
        prefix = normalize_name(model_id) + "-"
        for suffix in ("latest", "0", "default"):
            if match := ids.get(prefix + suffix):
                return f"{provider}/{match}"
        dated = [
            key
            for key in ids
            if key.startswith(prefix) and _DATE_SUFFIX.fullmatch(key[len(prefix) :])
        ]
        newest = max(dated, key=lambda key: key[len(prefix) :].replace("-", ""), default=None)
        return f"{provider}/{ids[newest]}" if newest else None

    def _match_other_providers(
        self, name: str, has_key: Callable[[str], bool], exact: bool
    ) -> tuple[str | None, bool]:
        """Look for a provider that offers the model of another vendor."""
        ending = f"/{name}"
        matches: list[str] = []
        if f"{ending}\n" in self._lines:  # a check for each name would take ten times as long
            matches = [full for full in self._sorted_names if full.endswith(ending)]
            matches = [full for full in matches if full.partition("/")[2] == name]
        if not matches and not exact:
            matches = self._match_normalized_at_all_providers(name)
        if not matches:
            return None, False
        with_key = [full_name for full_name in matches if has_key(full_name.partition("/")[0])]
        if len(with_key) == 1 or len(matches) == 1:
            return (with_key or matches)[0], True
        raise AmbiguousModelError(name, with_key or matches)

    def _match_normalized_at_all_providers(self, name: str) -> list[str]:
        if not self._normalized_lines:
            normalized = self._lines.lower()  # a call for each name would take ten times as long
            for separator in _SEPARATOR_CHARS:
                normalized = normalized.replace(separator, "-")
            self._normalized_lines = normalized
        ending = "/" + normalize_name(name)
        if f"{ending}\n" not in self._normalized_lines:
            return []
        matches = set()
        lines = self._normalized_lines.removesuffix("\n").split("\n")
        for full, normalized in zip(self._sorted_names, lines, strict=True):
            if normalized.endswith(ending):
                host, _, model_id = full.partition("/")
                matches.add(f"{host}/{self._ids(host)[normalize_name(model_id)]}")
        return sorted(matches)

    def suggest(self, name: str, count: int = 3) -> list[str]:
        """Return the full names most similar to `name`, the best match first."""
        if name not in self._suggestions:
            if len(self._suggestions) > 200:
                self._suggestions.clear()
            self._suggestions[name] = self._close_matches(name, count)
        return self._suggestions[name]

    def _close_matches(self, name: str, count: int) -> list[str]:
        import difflib

        provider, slash, model_id = name.partition("/")
        candidates = self.names_of_provider(provider) if slash else []
        if candidates:
            full_by_id = {full_name.partition("/")[2]: full_name for full_name in candidates}
            matches = difflib.get_close_matches(model_id, full_by_id, count, 0.5)
            return [full_by_id[matched_id] for matched_id in matches]
        first_party = first_party_names(self._sorted_names)
        full_by_id = {full.partition("/")[2]: full for full in reversed(first_party)}
        matches = difflib.get_close_matches(model_id if slash else name, full_by_id, count, 0.6)
        return [full_by_id[identity] for identity in matches]
