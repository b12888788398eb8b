"""The data types of the catalogue: slotted dataclasses that import nothing heavy.

The data comes from models.dev, which adds fields and contains mistakes. Values of a wrong type are
dropped (and counted in `problems`); unknown fields stay in `raw`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from dataclasses import dataclass, field
    from typing import Any
else:
    from ._dataclass import dataclass, field

RATE_FIELDS = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "reasoning",
    "input_audio",
    "output_audio",
)
CAPABILITIES = ("reasoning", "tool_call", "structured_output", "attachment", "temperature")


@dataclass
class CostTier:
    """Prices in $/1M tokens for requests with a prompt of more than `size` tokens."""

    size: int = 0
    """The tier applies to prompts of more tokens than this."""
    input: float | None = None
    """$/1M tokens of input."""
    output: float | None = None
    """$/1M tokens of output."""
    cache_read: float | None = None
    """$/1M tokens read from the cache."""
    cache_write: float | None = None
    """$/1M tokens written to the cache."""
    reasoning: float | None = None
    """$/1M tokens of thinking, if it has its own price."""
    input_audio: float | None = None
    """$/1M tokens of audio input."""
    output_audio: float | None = None
    """$/1M tokens of audio output."""


@dataclass
class ModelCost:
    """Prices in $/1M tokens. `None` means not listed, never free.

    If `cache_read` or `cache_write` is not listed, it is billed as input. `modes` holds the prices
    of other service levels by name, such as `fast`.
    """

    input: float | None = None
    """$/1M tokens of input."""
    output: float | None = None
    """$/1M tokens of output."""
    cache_read: float | None = None
    """$/1M tokens read from the cache."""
    cache_write: float | None = None
    """$/1M tokens written to the cache."""
    reasoning: float | None = None
    """$/1M tokens of thinking, if it has its own price."""
    input_audio: float | None = None
    """$/1M tokens of audio input."""
    output_audio: float | None = None
    """$/1M tokens of audio output."""
    tiers: list[CostTier] = field(default_factory=list)
    """Prices for longer prompts, by increasing size."""
    modes: dict[str, ModelCost] = field(default_factory=dict)
    """Prices of other service levels by name, such as `fast`."""

    @classmethod
    def from_dict(cls, data: Any, problems: list[str] | None = None) -> ModelCost:
        """Read a `cost` of models.dev. Names of invalid fields are appended to `problems`."""
        if not isinstance(data, dict):
            if data is not None:
                _add_problem(problems, "cost")
            return cls()
        cost = cls(*read_rates(data, problems))
        tiers = data.get("tiers")
        if isinstance(tiers, list):
            for tier in tiers:
                condition = tier.get("tier") if isinstance(tier, dict) else None
                condition = condition if isinstance(condition, dict) else {}
                if not is_nonnegative_number(condition.get("size")):
                    _add_problem(problems, "cost.tiers")
                elif condition.get("type", "context") == "context":
                    cost.tiers.append(CostTier(int(condition["size"]), *read_rates(tier, problems)))
            cost.tiers.sort(key=lambda tier: tier.size)
        elif isinstance(legacy := data.get("context_over_200k"), dict):
            cost.tiers.append(CostTier(200_000, *read_rates(legacy, problems)))
        return cost


@dataclass
class ModelLimits:
    """Limits in tokens: prompt and output together, output, and prompt. 0 means unknown."""

    context: int = 0
    """Tokens of prompt and answer together."""
    output: int = 0
    """Tokens of the answer."""
    input: int = 0
    """Tokens of the prompt, if it has its own limit."""


@dataclass
class ModelCapabilities:
    """The features of a model. `None` means unknown."""

    reasoning: bool | None = None
    """Whether it can think."""
    tool_call: bool | None = None
    """Whether it can call tools."""
    structured_output: bool | None = None
    """Whether it can follow a JSON Schema."""
    attachment: bool | None = None
    """Whether it accepts files."""
    temperature: bool | None = None
    """Whether it accepts a temperature."""


@dataclass
class ModelModalities:
    """The kinds of input and output: text, image, audio, video, pdf."""

    input: list[str] = field(default_factory=lambda: ["text"])
    """Supported inputs: `text`, `image`, `audio`, `video`, `pdf`."""
    output: list[str] = field(default_factory=lambda: ["text"])
    """Supported outputs: `text`, `image`, `audio`, `video`, `pdf`."""


@dataclass
class Model:
    """A model of a provider. `raw` is its complete record of models.dev.

    `base_model` is the full name of the listed model whose record this is, if the name is an
    unlisted variant: dated, tagged, fine-tuned or regional.

    `status` is empty, `alpha`, `beta`, `deprecated`, or `removed` for a model that models.dev no
    longer lists. `reasoning_options` describes how to control thinking. `npm`, `api` and `env`
    describe how to reach the model; see `pipy_ai.registry.routing`.

    Example:
        >>> from pipy_ai import Model, ModelCost
        >>> Model(id="my-model", provider="acme", cost=ModelCost(input=1, output=2)).qualified_name
        'acme/my-model'
    """

    id: str = ""
    """The provider's name of the model."""
    provider: str = ""
    """models.dev's name of the provider."""
    name: str = ""
    """The display name."""
    family: str = ""
    """The family, such as `claude-sonnet`."""
    cost: ModelCost = field(default_factory=ModelCost)
    """The list prices."""
    limits: ModelLimits = field(default_factory=ModelLimits)
    """The limits in tokens."""
    capabilities: ModelCapabilities = field(default_factory=ModelCapabilities)
    """The features."""
    modalities: ModelModalities = field(default_factory=ModelModalities)
    """The kinds of input and output."""
    knowledge_cutoff: str = ""
    """The date up to which it was trained, such as `2025-07`."""
    release_date: str = ""
    """The date of release, such as `2025-09-29`."""
    last_updated: str = ""
    """The date of the last update."""
    status: str = ""
    """Empty (active), `alpha`, `beta`, `deprecated` or `removed`."""
    open_weights: bool | None = None
    """Whether the weights are public."""
    reasoning_options: list[dict[str, Any]] = field(default_factory=list)
    """How thinking is controlled, as models.dev lists it."""
    interleaved: bool | str | None = None
    """How thinking is sent in later requests: the name of the field, or whether it is required."""
    env: list[str] = field(default_factory=list)
    """The environment variables that hold the API key."""
    api: str = ""
    """The base URL of the API."""
    npm: str = ""
    """The SDK that models.dev lists, which determines the API."""
    shape: str = ""
    """The API, if the SDK has several: `completions` or `responses`."""
    base_model: str = ""
    """The full name of the listed model whose record this is, for an unlisted variant."""
    raw: dict[str, Any] = field(default_factory=dict)
    """The complete record of models.dev."""

    def __repr__(self) -> str:
        from ..reprs import catalogue_model_repr

        return catalogue_model_repr(self)

    @property
    def qualified_name(self) -> str:
        """The full name, `provider/id`."""
        return f"{self.provider}/{self.id}"

    @property
    def is_chat(self) -> bool:
        """Whether this is a chat model, rather than one for embeddings, speech or images."""
        return is_chat_model(
            self.id, self.family, self.limits.context, "text" in self.modalities.output
        )

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        provider: str | Mapping[str, Any] = "",
        problems: list[str] | None = None,
    ) -> Model:
        """Read a model's record of models.dev; `provider` is the provider's id or record.

        Fields of a wrong type are dropped; their names are appended to `problems`.

        Raises:
            ValueError: `data` has no id.

        Example:
            >>> from pipy_ai import Model
            >>> Model.from_dict({"id": "m", "cost": {"input": 1, "output": 2}}, "acme").cost.output
            2
        """
        model_id = data.get("id")
        if not isinstance(model_id, str) or not model_id:
            raise ValueError("a model needs an id")
        provider_record = provider if not isinstance(provider, str) else {"id": provider}
        model_provider = data.get("provider")
        model_provider = model_provider if isinstance(model_provider, dict) else {}
        limit = _read_dict(data, "limit", problems)
        modalities = _read_dict(data, "modalities", problems)
        cost = ModelCost.from_dict(data.get("cost"), problems)
        for name, mode in _read_modes(data):
            cost.modes[name] = ModelCost.from_dict(mode.get("cost"), problems)
        options = data.get("reasoning_options")
        interleaved = data.get("interleaved")
        if isinstance(interleaved, dict):
            interleaved = interleaved.get("field")
        return cls(
            id=model_id,
            provider=str(provider_record.get("id") or ""),
            name=_read_str(data, "name", problems) or model_id,
            family=_read_str(data, "family", problems),
            cost=cost,
            limits=ModelLimits(
                _read_count(limit, "context", problems),
                _read_count(limit, "output", problems),
                _read_count(limit, "input", problems),
            ),
            capabilities=ModelCapabilities(*(_read_bool(data, n, problems) for n in CAPABILITIES)),
            modalities=ModelModalities(
                _read_str_list(modalities, "input", problems) or ["text"],
                _read_str_list(modalities, "output", problems) or ["text"],
            ),
            knowledge_cutoff=_read_str(data, "knowledge", problems),
            release_date=_read_str(data, "release_date", problems),
            last_updated=_read_str(data, "last_updated", problems),
            status=_read_str(data, "status", problems),
            open_weights=_read_bool(data, "open_weights", problems),
            reasoning_options=[option for option in options if isinstance(option, dict)]
            if isinstance(options, list)
            else [],
            interleaved=interleaved if isinstance(interleaved, bool | str) else None,
            env=_read_str_list(provider_record, "env", None),
            api=_read_str(model_provider, "api", None) or _read_str(provider_record, "api", None),
            npm=_read_str(model_provider, "npm", None) or _read_str(provider_record, "npm", None),
            shape=_read_str(model_provider, "shape", None),
            base_model=_read_str(data, "base_model", None),
            raw=dict(data),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record in the format of models.dev: `raw`, updated with the fields."""
        cost = _listed_rates(self.cost)
        tiers = [
            _listed_rates(tier) | {"tier": {"type": "context", "size": tier.size}}
            for tier in self.cost.tiers
        ]
        capabilities = {name: getattr(self.capabilities, name) for name in CAPABILITIES}
        limit = {"context": self.limits.context, "output": self.limits.output}
        record = {
            **self.raw,
            "id": self.id,
            "name": self.name or self.id,
            "modalities": {
                "input": list(self.modalities.input),
                "output": list(self.modalities.output),
            },
            "limit": limit | ({"input": self.limits.input} if self.limits.input else {}),
            **{name: value for name, value in capabilities.items() if value is not None},
        }
        optional = {
            "family": self.family,
            "knowledge": self.knowledge_cutoff,
            "release_date": self.release_date,
            "last_updated": self.last_updated,
            "status": self.status,
            "reasoning_options": self.reasoning_options,
        }
        record |= {name: value for name, value in optional.items() if value}
        if self.interleaved is not None and not isinstance(record.get("interleaved"), dict):
            field = self.interleaved
            record["interleaved"] = {"field": field} if isinstance(field, str) else field
        if not self.raw and self.modalities == ModelModalities():
            del record["modalities"]  # created by the caller, without modalities
        if modes := {n: {"cost": _listed_rates(mode)} for n, mode in self.cost.modes.items()}:
            experimental = record.get("experimental")
            experimental = experimental if isinstance(experimental, dict) else {}
            raw_modes = experimental.get("modes")
            raw_modes = raw_modes if isinstance(raw_modes, dict) else {}
            record["experimental"] = {
                **experimental,
                "modes": {n: {**(raw_modes.get(n) or {}), **mode} for n, mode in modes.items()},
            }
        if self.open_weights is not None:
            record["open_weights"] = self.open_weights
        if cost:
            record["cost"] = {**cost, **({"tiers": tiers} if tiers else {})}
        else:
            record.pop("cost", None)
        return record


_NON_CHAT_MARKERS = (
    "embed",
    "rerank",
    "whisper",
    "-tts",
    "tts-",
    "transcri",
    "moderation",
    "guard",
    "ocr",
    "bge-",
    "-asr",
)


def is_chat_model(model_id: str, family: str, context: int, outputs_text: bool) -> bool:
    """Whether a model is a chat model, judged by its names: models.dev does not list it."""
    if not outputs_text or not context:
        return False
    text = f"{model_id} {family}".lower()
    return not any(marker in text for marker in _NON_CHAT_MARKERS)


# --- Reading values that may have any type --------------------------------------------------


def sanitize_record(record: Mapping[str, Any], model_id: str) -> dict[str, Any]:
    """Return a record without the parts that have a wrong type."""
    sanitized = {**record, "id": model_id}
    for name in ("limit", "modalities", "cost", "provider"):
        if name in sanitized and not isinstance(sanitized[name], dict):
            del sanitized[name]
    if "provider" in sanitized:
        sanitized["provider"] = _sanitize_connection_fields(sanitized["provider"])
    if "limit" in sanitized:
        sanitized["limit"] = {
            name: v for name, v in sanitized["limit"].items() if is_nonnegative_number(v)
        }
    if isinstance(modalities := sanitized.get("modalities"), dict) and not all(
        isinstance(modalities.get(side, []), list) for side in ("input", "output")
    ):
        del sanitized["modalities"]
    if "reasoning_options" in sanitized:
        options = sanitized["reasoning_options"]
        sanitized["reasoning_options"] = [
            option
            for option in (options if isinstance(options, list) else ())
            if isinstance(option, dict)
            and isinstance(option.get("values") or [], list)
            and all(type(option.get(side) or 0) is int for side in ("min", "max"))
        ]
    return sanitized


def sanitize_provider(record: Mapping[str, Any], provider_id: str) -> dict[str, Any]:
    """Return a provider's record with valid types; `env` is always a list."""
    return {"env": [], **_sanitize_connection_fields(record), "id": provider_id}


def _sanitize_connection_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    text_fields = ("npm", "api", "name", "shape")
    sanitized = {n: v for n, v in record.items() if n not in text_fields or isinstance(v, str)}
    if "env" in sanitized:
        env = sanitized["env"]
        variables = [env] if isinstance(env, str) else env if isinstance(env, list) else []
        sanitized["env"] = [variable for variable in variables if isinstance(variable, str)]
    return sanitized


def _listed_rates(prices: Any) -> dict[str, Any]:
    return {rate: value for rate in RATE_FIELDS if (value := getattr(prices, rate)) is not None}


def _add_problem(problems: list[str] | None, name: str) -> None:
    if problems is not None:
        problems.append(name)


def is_nonnegative_number(value: Any) -> bool:
    """Whether a value is a number that is finite and not negative."""
    return type(value) in (int, float) and 0 <= value < float("inf")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def read_rates(data: Mapping[str, Any], problems: list[str] | None = None) -> list[Any]:
    """Return the rates of a `cost` in the order of `RATE_FIELDS`."""
    rates = []
    for name in RATE_FIELDS:
        value = data.get(name)
        if value is not None and not is_nonnegative_number(value):
            _add_problem(problems, f"cost.{name}")
            value = None
        rates.append(value)
    return rates


def _read_modes(data: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    experimental = data.get("experimental")
    modes = experimental.get("modes") if isinstance(experimental, dict) else None
    if not isinstance(modes, dict):
        return []
    return [(str(name), mode) for name, mode in modes.items() if isinstance(mode, dict)]


def _read_dict(data: Mapping[str, Any], name: str, problems: list[str] | None) -> dict[str, Any]:
    value = data.get(name)
    if isinstance(value, dict):
        return value
    if value is not None:
        _add_problem(problems, name)
    return {}


def _read_str(data: Mapping[str, Any], name: str, problems: list[str] | None) -> str:
    value = data.get(name)
    if isinstance(value, str):
        return value
    if value is not None:
        _add_problem(problems, name)
    return ""


def _read_str_list(data: Mapping[str, Any], name: str, problems: list[str] | None) -> list[str]:
    value = data.get(name)
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    if value is not None:
        _add_problem(problems, name)
    return []


def _read_bool(data: Mapping[str, Any], name: str, problems: list[str] | None) -> bool | None:
    value = data.get(name)
    if isinstance(value, bool):
        return value
    if value is not None:
        _add_problem(problems, name)
    return None


def _read_count(data: Mapping[str, Any], name: str, problems: list[str] | None) -> int:
    value = data.get(name)
    if _is_count(value):
        return value  # type: ignore[return-value]  # ty: ignore[invalid-explicit-return]
    if isinstance(value, float) and 0 <= value < 2**53:  # 128000.0
        return int(value)
    if value is not None:
        _add_problem(problems, name)
    return 0
