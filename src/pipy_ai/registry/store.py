"""The catalogue on disk: one file of records, one index that says where each record is.

`models.json` is valid JSON with one model a line, sorted. `index.json` has what lists, filters and
prices need, and each record's place; it names the data by its content's hash, so writing the index
is what makes a new catalogue the current one. Looking one model up reads one line of each.
Nothing heavy is imported here.
"""

from __future__ import annotations

import json
import os

from .schema import CAPABILITIES, RATES, is_chat, is_price, sound_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, BinaryIO

FORMAT = 1
MODELS, PREVIOUS, INDEX = "models.json", "models.previous.json", "index.json"

# A row of the index: where the record is, and what is asked of many models at once.
OFFSET, LENGTH, FLAGS, CONTEXT, OUTPUT, RELEASED, STATUS, NAME, FAMILY, PRICES, TIERS = range(11)
MODALITIES = ("text", "image", "audio", "video", "pdf")
FLAG = {name: 1 << bit for bit, name in enumerate((*CAPABILITIES, "open_weights", "chat"))}
FLAG_IN = {name: 1 << (8 + bit) for bit, name in enumerate(MODALITIES)}
FLAG_OUT = {name: 1 << (16 + bit) for bit, name in enumerate(MODALITIES)}


class Corrupted(Exception):
    """The files do not hold what they should."""


# --- A feed of models.dev -------------------------------------------------------------------


def hosts_of(feed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The providers of a feed by id, without their models."""
    return {
        name: sound_host({key: value for key, value in host.items() if key != "models"}, name)
        for name, host in feed.items()
        if isinstance(host, dict) and name and "/" not in name
    }


def records_of(feed: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], int]:
    """The models of a feed by full name, sorted, and how many were no models at all."""
    records: dict[str, dict[str, Any]] = {}
    skipped = 0
    for provider, host in feed.items():
        models = host.get("models") if isinstance(host, dict) else None
        if not isinstance(models, dict) or not provider or "/" in provider:
            skipped += 1
            continue
        for identity, record in models.items():
            if isinstance(record, dict) and identity:
                records[f"{provider}/{identity}"] = {**record, "id": identity}
            else:
                skipped += 1
    return dict(sorted(records.items())), skipped


def row_of(record: Mapping[str, Any], offset: int = 0, length: int = 0) -> list[Any]:
    """The row of a record. Whatever has a wrong type counts as unknown."""
    flags = 0
    for name in (*CAPABILITIES, "open_weights"):
        if record.get(name) is True:
            flags |= FLAG[name]
    modalities = record.get("modalities")
    for side, bits in (("input", FLAG_IN), ("output", FLAG_OUT)):
        words = modalities.get(side) if isinstance(modalities, dict) else None
        for word in words if isinstance(words, list) and words else ("text",):
            if isinstance(word, str):
                flags |= bits.get(word, 0)
    limit = record.get("limit")
    limit = limit if isinstance(limit, dict) else {}
    context, output = (_whole(limit.get(key)) for key in ("context", "output"))
    name, family, released, status = (
        value if isinstance(value := record.get(key), str) else ""
        for key in ("name", "family", "release_date", "status")
    )
    if is_chat(record["id"], family, context, bool(flags & FLAG_OUT["text"])):
        flags |= FLAG["chat"]
    row = [offset, length, flags, context, output, released, status, name, family]
    prices, tiers = _prices(record.get("cost"))
    if tiers:
        return [*row, prices, tiers]
    return [*row, prices] if prices else row


def _whole(value: Any) -> int:
    return int(value) if is_price(value) else 0


def _rates(data: Mapping[str, Any]) -> list[Any]:
    rates = [data.get(name) if is_price(data.get(name)) else None for name in RATES]
    while rates and rates[-1] is None:
        rates.pop()
    return rates


def _prices(cost: Any) -> tuple[list[Any], list[Any]]:
    """Rates in the order of RATES, and `[size, rates]` of each tier."""
    if not isinstance(cost, dict):
        return [], []
    from .schema import ModelCost  # the one place that knows what a tier is

    if not cost.get("tiers") and not cost.get("context_over_200k"):
        return _rates(cost), []
    tiers = ModelCost.from_dict(cost).tiers
    return _rates(cost), [
        [tier.size, _rates({name: getattr(tier, name) for name in RATES})] for tier in tiers
    ]


# --- Reading --------------------------------------------------------------------------------


class Catalogue:
    """Records by full name. This one is made of a feed in memory."""

    def __init__(self, feed: Mapping[str, Any], about: dict[str, Any]) -> None:
        self.about: dict[str, Any] = about
        self._hosts = hosts_of(feed)
        self._records, skipped = records_of(feed)
        self.about.setdefault("skipped", skipped)
        self._rows: dict[str, list[Any]] | None = None

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        """All providers by id."""
        return self._hosts

    def record(self, name: str) -> dict[str, Any] | None:
        """The record of a full name, as models.dev has it."""
        return self._records.get(name)

    def host(self, provider: str) -> dict[str, Any] | None:
        """The record of a provider, without its models."""
        return self.hosts.get(provider)

    def rows(self) -> dict[str, list[Any]]:
        """All rows by full name, sorted."""
        if self._rows is None:
            self._rows = {name: row_of(record) for name, record in self._records.items()}
        return self._rows

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """All full names and records, sorted."""
        return iter(self._records.items())


class FileCatalogue(Catalogue):
    """The files of a directory, read as far as is asked. Holds no file open.

    Raises:
        OSError: there are none, or they cannot be read.
        Corrupted: they do not hold a catalogue. Later reads raise it when the files are gone.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        with open(os.path.join(directory, INDEX), "rb") as file:
            self._index = file.read()
        try:
            head, _, _ = self._index.partition(b"\n")
            self.about: dict[str, Any] = json.loads(head.rstrip(b",") + b"}")
            self._hash = self.about["hash"]
            if self.about["format"] != FORMAT or not self._index.endswith(b"\n}}\n"):
                raise Corrupted(f"{INDEX} is of another version, or cut off")
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupted(f"{INDEX} is no catalogue: {error}") from None
        self._parsed: dict[str, Any] | None = None
        self._open().close()

    def _open(self) -> BinaryIO:
        """The data that this index speaks of: the current file or, while a writer is between its
        two steps, the one before."""
        for name in (MODELS, PREVIOUS):
            try:
                file = open(os.path.join(self.directory, name), "rb")  # noqa: SIM115
            except OSError:
                continue
            if file.read(len(_opening(self._hash))) == _opening(self._hash):
                return file
            file.close()
        raise Corrupted(f"{MODELS} is not the one that {INDEX} speaks of")

    def _line(self, key: str) -> Any:
        """The value of a key that begins a line of the index."""
        start = b"\n" + _dump(key) + b":"
        at = self._index.find(start)
        if at < 0:
            return None
        end = self._index.find(b"\n", at + 1)
        value = self._index[at + len(start) : end].rstrip(b",")
        # `models` and `providers` are no hosts but the beginnings of the two parts.
        return None if value == b"{" else _parsed(value, INDEX)

    def _whole(self) -> dict[str, Any]:
        if self._parsed is None:
            whole: dict[str, Any] = _parsed(self._index, INDEX)
            if not all(isinstance(whole.get(part), dict) for part in ("providers", "models")):
                raise Corrupted(f"{INDEX} is damaged")
            for row in whole["models"].values():
                _check_row(row)
            self._parsed = whole
            return whole
        return self._parsed

    def record(self, name: str) -> dict[str, Any] | None:
        row = self._line(name) if "/" in name else None
        if row is None:
            return None
        _check_row(row)
        with self._open() as file:
            file.seek(row[OFFSET])
            return _record(file.read(row[LENGTH]))

    def host(self, provider: str) -> dict[str, Any] | None:
        found = self._line(provider) if "/" not in provider else None
        return found if isinstance(found, dict) else None

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        """All providers by id."""
        hosts: dict[str, dict[str, Any]] = self._whole()["providers"]
        return hosts

    def rows(self) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = self._whole()["models"]
        return rows

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._open() as file:
            file.seek(0)
            data = file.read()
        for name, row in self.rows().items():
            yield name, _record(data[row[OFFSET] : row[OFFSET] + row[LENGTH]])


def _check_row(row: Any) -> None:
    if not isinstance(row, list) or len(row) <= FAMILY or type(row[OFFSET]) is not int:
        raise Corrupted(f"{INDEX} is damaged")


def _opening(hash_: str) -> bytes:
    """How the data of a hash begins."""
    return b'{"hash":"' + str(hash_).encode() + b'"'


def _record(line: bytes) -> dict[str, Any]:
    record: dict[str, Any] = _parsed(line, MODELS)
    if not isinstance(record, dict):
        raise Corrupted(f"{MODELS} is damaged")
    return record


def _parsed(text: bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Corrupted(f"{name} is damaged") from None


# --- Writing --------------------------------------------------------------------------------


def compile_feed(
    records: Mapping[str, Mapping[str, Any]],
    hosts: Mapping[str, Any],
    about: Mapping[str, Any],
) -> tuple[bytes, bytes]:
    """The contents of `models.json` and `index.json`."""
    import hashlib

    lines = [(name, _dump(name), _dump(record)) for name, record in sorted(records.items())]
    digest = hashlib.sha256()
    for _, key, body in lines:
        digest.update(key + body)
    hash_ = digest.hexdigest()[:16]
    parts = [_opening(hash_) + b',"models":{\n']
    rows: list[bytes] = []
    offset = len(parts[0])
    for number, (name, key, body) in enumerate(lines):
        row = row_of(records[name], offset + len(key) + 1, len(body))
        rows.append(key + b":" + _dump(row))
        end = b",\n" if number + 1 < len(lines) else b"\n"
        parts.append(key + b":" + body + end)
        offset += len(parts[-1])
    parts.append(b"}}\n")
    head = {"format": FORMAT, "hash": hash_, **about, "count": len(lines)}
    providers = [_dump(name) + b":" + _dump(host) for name, host in sorted(hosts.items())]
    index = b"".join(
        [
            _dump(head)[:-1],
            b',\n"providers":{\n',
            b",\n".join(providers),
            b'\n},\n"models":{\n',
            b",\n".join(rows),
            b"\n}}\n",
        ]
    )
    return b"".join(parts), index


def _dump(value: Any) -> bytes:
    # A lone surrogate, which JSON may escape, could not be written as UTF-8.
    return json.dumps(value, separators=(",", ":")).encode()


def write(directory: str, models: bytes, index: bytes) -> None:
    """Make a compiled catalogue the current one. Readers see the old or the new, never a mixture.

    The generation before is kept.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    os.makedirs(directory, exist_ok=True)
    current = os.path.join(directory, MODELS)
    staged = []
    try:
        staged.append(_stage(directory, MODELS, models))
        staged.append(_stage(directory, INDEX, index))
        if _is_current(directory):  # else the one before is what the index speaks of
            _link(current, os.path.join(directory, PREVIOUS))
        os.replace(staged[0], current)
        os.replace(staged[1], os.path.join(directory, INDEX))
    finally:
        for path in staged:
            _remove(path)


def write_atomically(path: str, content: bytes, mode: int = 0o644) -> None:
    """Put `content` into a file, or leave the file as it was."""
    directory, name = os.path.split(path)
    os.makedirs(directory or ".", exist_ok=True)
    staged = _stage(directory or ".", name, content, mode)
    try:
        os.replace(staged, path)
    finally:
        _remove(staged)


def _stage(directory: str, name: str, content: bytes, mode: int = 0o644) -> str:
    """`content` in a new file of the directory, on the disk."""
    import tempfile

    handle, path = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=directory)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(path, mode)
    except BaseException:
        _remove(path)
        raise
    return path


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


def _is_current(directory: str) -> bool:
    """Whether the index speaks of `models.json` itself."""
    try:
        wanted = _opening(FileCatalogue(directory).about["hash"])
        with open(os.path.join(directory, MODELS), "rb") as file:
            return file.read(len(wanted)) == wanted
    except (OSError, Corrupted):
        return False


def _link(source: str, target: str) -> None:
    """Make `target` another name of `source`'s content, at once."""
    staged = f"{target}.{os.getpid()}.tmp"
    try:
        try:
            os.link(source, staged)
        except OSError:  # a file system without links
            import shutil

            shutil.copyfile(source, staged)
        os.replace(staged, target)
    finally:
        _remove(staged)
