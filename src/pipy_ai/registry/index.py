"""The catalogue on disk: a file of records, and an index with the position of each record.

`models.json` is valid JSON with one model per line, sorted. `index.json` holds what lists, filters
and prices need, and the position of each record. It refers to the records by a hash of their
content, so a new catalogue takes effect when its index is written. Looking up a model reads one
line of each file, and listing the names one line of the index. Nothing heavy is imported here.
"""

from __future__ import annotations

import json
import os

from .schema import (
    CAPABILITIES,
    RATE_FIELDS,
    ModelCost,
    is_chat_model,
    is_nonnegative_number,
    read_rates,
    sanitize_provider,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, BinaryIO

FORMAT_VERSION = 1
MODELS_FILE, PREVIOUS_MODELS_FILE, INDEX_FILE = "models.json", "models.previous.json", "index.json"

# The columns of a row of the index.
OFFSET, LENGTH, FLAGS, CONTEXT, OUTPUT, RELEASED, STATUS, NAME, FAMILY, PRICES, TIERS = range(11)
MODALITIES = ("text", "image", "audio", "video", "pdf")
FLAG_BITS = {name: 1 << bit for bit, name in enumerate((*CAPABILITIES, "open_weights", "chat"))}
INPUT_FLAG_BITS = {name: 1 << (8 + bit) for bit, name in enumerate(MODALITIES)}
OUTPUT_FLAG_BITS = {name: 1 << (16 + bit) for bit, name in enumerate(MODALITIES)}


class CorruptedCatalogueError(Exception):
    """The files are damaged or do not belong together."""


# --- The feed of models.dev -----------------------------------------------------------------


def providers_in_feed(feed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the providers of a feed by id, without their models."""
    return {
        name: sanitize_provider(
            {key: value for key, value in record.items() if key != "models"}, name
        )
        for name, record in feed.items()
        if isinstance(record, dict) and _is_provider_name(name)
    }


def models_in_feed(feed: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the models of a feed by full name, sorted, and the number of invalid records."""
    records: dict[str, dict[str, Any]] = {}
    skipped = 0
    for provider, provider_record in feed.items():
        models = provider_record.get("models") if isinstance(provider_record, dict) else None
        if not isinstance(models, dict) or not _is_provider_name(provider):
            skipped += 1
            continue
        for model_id, record in models.items():
            if isinstance(record, dict) and _is_name(model_id):
                records[f"{provider}/{model_id}"] = {**record, "id": model_id}
            else:
                skipped += 1
    return dict(sorted(records.items())), skipped


def _is_provider_name(name: str) -> bool:
    return _is_name(name) and "/" not in name


def _is_name(name: str) -> bool:
    """Return whether a name can be typed: spaces around names are ignored where they are read."""
    return bool(name) and name == name.strip() and "\n" not in name


def build_row(record: Mapping[str, Any], offset: int = 0, length: int = 0) -> list[Any]:
    """Return the row of a record. Values of a wrong type count as unknown."""
    flags = 0
    for name in (*CAPABILITIES, "open_weights"):
        if record.get(name) is True:
            flags |= FLAG_BITS[name]
    modalities = record.get("modalities")
    for direction, bits in (("input", INPUT_FLAG_BITS), ("output", OUTPUT_FLAG_BITS)):
        listed_modalities = modalities.get(direction) if isinstance(modalities, dict) else None
        for modality in (
            listed_modalities
            if isinstance(listed_modalities, list) and listed_modalities
            else ("text",)
        ):
            if isinstance(modality, str):
                flags |= bits.get(modality, 0)
    limit = record.get("limit")
    limit = limit if isinstance(limit, dict) else {}
    context, output = (_int_or_zero(limit.get(key)) for key in ("context", "output"))
    name, family, released, status = (
        value if isinstance(value := record.get(key), str) else ""
        for key in ("name", "family", "release_date", "status")
    )
    if is_chat_model(record["id"], family, context, bool(flags & OUTPUT_FLAG_BITS["text"])):
        flags |= FLAG_BITS["chat"]
    row = [offset, length, flags, context, output, released, status, name, family]
    prices, tiers = _prices_and_tiers(record.get("cost"))
    if tiers:
        return [*row, prices, tiers]
    return [*row, prices] if prices else row


def _int_or_zero(value: Any) -> int:
    return int(value) if is_nonnegative_number(value) else 0


def _compact_rates(data: Mapping[str, Any]) -> list[Any]:
    rates = read_rates(data)
    while rates and rates[-1] is None:
        rates.pop()
    return rates


def _prices_and_tiers(cost: Any) -> tuple[list[Any], list[Any]]:
    """Return the rates in the order of `RATE_FIELDS`, and `[size, rates]` of each tier."""
    if not isinstance(cost, dict):
        return [], []
    if not cost.get("tiers") and not cost.get("context_over_200k"):
        return _compact_rates(cost), []
    tiers = ModelCost.from_dict(cost).tiers
    return _compact_rates(cost), [
        [tier.size, _compact_rates({name: getattr(tier, name) for name in RATE_FIELDS})]
        for tier in tiers
    ]


# --- Reading --------------------------------------------------------------------------------


class Catalogue:
    """Records by full name, from a feed in memory."""

    def __init__(self, feed: Mapping[str, Any], metadata: dict[str, Any]) -> None:
        self.metadata: dict[str, Any] = metadata
        self._hosts = providers_in_feed(feed)
        self._records, skipped = models_in_feed(feed)
        self.metadata.setdefault("skipped", skipped)
        self._rows: dict[str, list[Any]] | None = None

    @property
    def providers(self) -> dict[str, dict[str, Any]]:
        """All providers by id."""
        return self._hosts

    def record(self, name: str) -> dict[str, Any] | None:
        """Return the record of a full name in the format of models.dev."""
        return self._records.get(name)

    def provider_record(self, provider: str) -> dict[str, Any] | None:
        """Return the record of a provider, without its models."""
        return self.providers.get(provider)

    def rows(self) -> dict[str, list[Any]]:
        """Return all rows by full name, sorted."""
        if self._rows is None:
            self._rows = {name: build_row(record) for name, record in self._records.items()}
        return self._rows

    def names(self) -> list[str]:
        """Return the full names of all models that are not removed."""
        return [name for name, record in self._records.items() if record.get("status") != "removed"]

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield all full names and records, sorted."""
        return iter(self._records.items())


_SCANNED_BYTES = 4096
NAMES_PREFIX = b'\n"names":'  # of the line after the header
_PROVIDERS_LINE, _MODELS_LINE = b'\n"providers":{\n', b'\n},\n"models":{\n'


class FileCatalogue(Catalogue):
    """Records in the files of a directory. Only the needed parts are read; no file stays open.

    Raises:
        OSError: The files are missing or cannot be read.
        CorruptedCatalogueError: The files are damaged. Later reads raise it if they are gone.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        with open(os.path.join(directory, INDEX_FILE), "rb") as file:
            self._index_bytes = file.read()
        try:
            header = self._index_bytes[: self._index_bytes.find(b"\n")]
            self.metadata: dict[str, Any] = json.loads(header.rstrip(b",") + b"}")
            self._hash = self.metadata["hash"]
            if self.metadata["format"] != FORMAT_VERSION or not self._index_bytes.endswith(
                b"\n}}\n"
            ):
                raise CorruptedCatalogueError(f"{INDEX_FILE} has another version or is truncated")
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptedCatalogueError(f"{INDEX_FILE} is not a catalogue: {error}") from None
        self._providers_start = self._index_bytes.find(_PROVIDERS_LINE)
        self._models_start = self._index_bytes.find(_MODELS_LINE, self._providers_start)
        self._parsed_index: dict[str, Any] | None = None
        self._parsed_providers: dict[str, dict[str, Any]] | None = None
        self._open_models_file().close()

    def _open_models_file(self) -> BinaryIO:
        """Open the records of this index.

        They are in the previous file while a writer has replaced the records but not the index.
        """
        for name in (MODELS_FILE, PREVIOUS_MODELS_FILE):
            try:
                file = open(os.path.join(self.directory, name), "rb")  # noqa: SIM115
            except OSError:
                continue
            if file.read(len(models_header(self._hash))) == models_header(self._hash):
                return file
            file.close()
        raise CorruptedCatalogueError(f"{MODELS_FILE} and {INDEX_FILE} do not belong together")

    def _read_index_line(self, key: str) -> Any:
        """Return the value of a key at the start of a line of the index."""
        prefix = b"\n" + encode_json(key) + b":"
        position = self._find_line(key, prefix)
        if position < 0:
            return None
        end = self._index_bytes.find(b"\n", position + 1)
        value = self._index_bytes[position + len(prefix) : end].rstrip(b",")
        # `models` and `providers` are not providers but the keys of the two sections.
        return None if value == b"{" else _parse_json(value, INDEX_FILE)

    def _find_line(self, key: str, prefix: bytes) -> int:
        """Return the position of the line of a key, or -1. The keys of a section are sorted."""
        data = self._index_bytes
        if "/" in key:
            low, high = self._models_start + len(_MODELS_LINE) - 1, len(data)
        else:
            low, high = self._providers_start + len(_PROVIDERS_LINE) - 1, self._models_start + 1
        while high - low > _SCANNED_BYTES:
            line = data.find(b"\n", (low + high) // 2, high)
            end = data.find(b'":', line, high)
            if line < 0 or end < 0:
                break
            try:
                is_after = json.loads(data[line + 1 : end + 1]) > key
            except ValueError:  # a key that contains `":`, or damage
                break
            if is_after:
                high = line
            else:
                low = line
        return data.find(prefix, low, high + len(prefix))

    def _full_index(self) -> dict[str, Any]:
        if self._parsed_index is None:
            index: dict[str, Any] = _parse_json(self._index_bytes, INDEX_FILE)
            if not all(isinstance(index.get(section), dict) for section in ("providers", "models")):
                raise CorruptedCatalogueError(f"{INDEX_FILE} is damaged")
            for row in index["models"].values():  # inlined `_check_row`: there are thousands
                if type(row) is not list or len(row) <= FAMILY or type(row[OFFSET]) is not int:
                    raise CorruptedCatalogueError(f"{INDEX_FILE} is damaged")
            self._parsed_index = index
            return index
        return self._parsed_index

    def record(self, name: str) -> dict[str, Any] | None:
        row = self._read_index_line(name) if "/" in name else None
        if row is None:
            return None
        _check_row(row)
        with self._open_models_file() as file:
            file.seek(row[OFFSET])
            return _parse_record(file.read(row[LENGTH]))

    def provider_record(self, provider: str) -> dict[str, Any] | None:
        record = self._read_index_line(provider) if "/" not in provider else None
        return record if isinstance(record, dict) else None

    @property
    def providers(self) -> dict[str, dict[str, Any]]:
        """All providers by id."""
        if self._parsed_providers is None:
            start = self._providers_start + len(_PROVIDERS_LINE)
            section = b"{%s}" % self._index_bytes[start : self._models_start]
            providers: dict[str, dict[str, Any]] = _parse_json(section, INDEX_FILE)
            self._parsed_providers = providers
        return self._parsed_providers

    def rows(self) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = self._full_index()["models"]
        return rows

    def names(self) -> list[str]:
        start = self._index_bytes.find(b"\n")
        if not self._index_bytes.startswith(NAMES_PREFIX, start):  # written by an older version
            return [name for name, row in self.rows().items() if row[STATUS] != "removed"]
        end = self._index_bytes.find(b"\n", start + 1)
        line = self._index_bytes[start + len(NAMES_PREFIX) : end]
        names: list[str] = _parse_json(line.rstrip(b","), INDEX_FILE)
        if not isinstance(names, list) or {*map(type, names)} - {str}:
            raise CorruptedCatalogueError(f"{INDEX_FILE} is damaged")
        return names

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._open_models_file() as file:
            file.seek(0)
            data = file.read()
        for name, row in self.rows().items():
            yield name, _parse_record(data[row[OFFSET] : row[OFFSET] + row[LENGTH]])


def _check_row(row: Any) -> None:
    if not isinstance(row, list) or len(row) <= FAMILY or type(row[OFFSET]) is not int:
        raise CorruptedCatalogueError(f"{INDEX_FILE} is damaged")


def models_header(content_hash: str) -> bytes:
    """Return how the file of records begins."""
    return b'{"hash":"' + str(content_hash).encode() + b'"'


def encode_json(value: Any) -> bytes:
    """Return compact JSON."""
    # ASCII, because a lone surrogate cannot be encoded as UTF-8.
    return json.dumps(value, separators=(",", ":")).encode()


def _parse_record(line: bytes) -> dict[str, Any]:
    record: dict[str, Any] = _parse_json(line, MODELS_FILE)
    if not isinstance(record, dict):
        raise CorruptedCatalogueError(f"{MODELS_FILE} is damaged")
    return record


def _parse_json(data: bytes, file_name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise CorruptedCatalogueError(f"{file_name} is damaged") from None
