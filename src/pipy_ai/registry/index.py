"""The catalogue on disk: one file of records, one index that says where each record is.

`models.json` is valid JSON with one model a line, sorted. `index.json` has what lists, filters and
prices need, and each record's place; it names the data by its content's hash, so writing the index
is what makes a new catalogue the current one. Looking one model up reads one line of each.
Nothing heavy is imported here.
"""

from __future__ import annotations

import json
import os

from ..utils.atomic import remove_if_exists, write_temp_file
from .schema import (
    CAPABILITIES,
    RATE_FIELDS,
    is_chat_model,
    is_nonnegative_number,
    sanitize_provider,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, BinaryIO

FORMAT_VERSION = 1
MODELS_FILE, PREVIOUS_MODELS_FILE, INDEX_FILE = "models.json", "models.previous.json", "index.json"

# A row of the index: where the record is, and what is asked of many models at once.
OFFSET, LENGTH, FLAGS, CONTEXT, OUTPUT, RELEASED, STATUS, NAME, FAMILY, PRICES, TIERS = range(11)
MODALITIES = ("text", "image", "audio", "video", "pdf")
FLAG_BITS = {name: 1 << bit for bit, name in enumerate((*CAPABILITIES, "open_weights", "chat"))}
INPUT_FLAG_BITS = {name: 1 << (8 + bit) for bit, name in enumerate(MODALITIES)}
OUTPUT_FLAG_BITS = {name: 1 << (16 + bit) for bit, name in enumerate(MODALITIES)}


class CorruptedCatalogueError(Exception):
    """The files do not hold what they should."""


# --- A feed of models.dev -------------------------------------------------------------------


def providers_in_feed(feed: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The providers of a feed by id, without their models."""
    return {
        name: sanitize_provider(
            {key: value for key, value in record.items() if key != "models"}, name
        )
        for name, record in feed.items()
        if isinstance(record, dict) and name and "/" not in name
    }


def models_in_feed(feed: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], int]:
    """The models of a feed by full name, sorted, and how many were no models at all."""
    records: dict[str, dict[str, Any]] = {}
    skipped = 0
    for provider, provider_record in feed.items():
        models = provider_record.get("models") if isinstance(provider_record, dict) else None
        if not isinstance(models, dict) or not provider or "/" in provider:
            skipped += 1
            continue
        for model_id, record in models.items():
            if isinstance(record, dict) and model_id:
                records[f"{provider}/{model_id}"] = {**record, "id": model_id}
            else:
                skipped += 1
    return dict(sorted(records.items())), skipped


def build_row(record: Mapping[str, Any], offset: int = 0, length: int = 0) -> list[Any]:
    """The row of a record. Whatever has a wrong type counts as unknown."""
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
    rates = [
        data.get(name) if is_nonnegative_number(data.get(name)) else None for name in RATE_FIELDS
    ]
    while rates and rates[-1] is None:
        rates.pop()
    return rates


def _prices_and_tiers(cost: Any) -> tuple[list[Any], list[Any]]:
    """Rates in the order of RATES, and `[size, rates]` of each tier."""
    if not isinstance(cost, dict):
        return [], []
    from .schema import ModelCost  # the one place that knows what a tier is

    if not cost.get("tiers") and not cost.get("context_over_200k"):
        return _compact_rates(cost), []
    tiers = ModelCost.from_dict(cost).tiers
    return _compact_rates(cost), [
        [tier.size, _compact_rates({name: getattr(tier, name) for name in RATE_FIELDS})]
        for tier in tiers
    ]


# --- Reading --------------------------------------------------------------------------------


class Catalogue:
    """Records by full name. This one is made of a feed in memory."""

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
        """The record of a full name, as models.dev has it."""
        return self._records.get(name)

    def provider_record(self, provider: str) -> dict[str, Any] | None:
        """The record of a provider, without its models."""
        return self.providers.get(provider)

    def rows(self) -> dict[str, list[Any]]:
        """All rows by full name, sorted."""
        if self._rows is None:
            self._rows = {name: build_row(record) for name, record in self._records.items()}
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
        with open(os.path.join(directory, INDEX_FILE), "rb") as file:
            self._index_bytes = file.read()
        try:
            header, _, _ = self._index_bytes.partition(b"\n")
            self.metadata: dict[str, Any] = json.loads(header.rstrip(b",") + b"}")
            self._hash = self.metadata["hash"]
            if self.metadata["format"] != FORMAT_VERSION or not self._index_bytes.endswith(
                b"\n}}\n"
            ):
                raise CorruptedCatalogueError(f"{INDEX_FILE} is of another version, or cut off")
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptedCatalogueError(f"{INDEX_FILE} is no catalogue: {error}") from None
        self._parsed_index: dict[str, Any] | None = None
        self._open_models_file().close()

    def _open_models_file(self) -> BinaryIO:
        """The data that this index speaks of: the current file or, while a writer is between its
        two steps, the one before."""
        for name in (MODELS_FILE, PREVIOUS_MODELS_FILE):
            try:
                file = open(os.path.join(self.directory, name), "rb")  # noqa: SIM115
            except OSError:
                continue
            if file.read(len(_models_header(self._hash))) == _models_header(self._hash):
                return file
            file.close()
        raise CorruptedCatalogueError(f"{MODELS_FILE} is not the one that {INDEX_FILE} speaks of")

    def _read_index_line(self, key: str) -> Any:
        """The value of a key that begins a line of the index."""
        prefix = b"\n" + _encode_json(key) + b":"
        position = self._index_bytes.find(prefix)
        if position < 0:
            return None
        end = self._index_bytes.find(b"\n", position + 1)
        value = self._index_bytes[position + len(prefix) : end].rstrip(b",")
        # `models` and `providers` are no hosts but the beginnings of the two parts.
        return None if value == b"{" else _parse_json(value, INDEX_FILE)

    def _full_index(self) -> dict[str, Any]:
        if self._parsed_index is None:
            index: dict[str, Any] = _parse_json(self._index_bytes, INDEX_FILE)
            if not all(isinstance(index.get(section), dict) for section in ("providers", "models")):
                raise CorruptedCatalogueError(f"{INDEX_FILE} is damaged")
            for row in index["models"].values():
                _check_row(row)
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
        providers: dict[str, dict[str, Any]] = self._full_index()["providers"]
        return providers

    def rows(self) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = self._full_index()["models"]
        return rows

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._open_models_file() as file:
            file.seek(0)
            data = file.read()
        for name, row in self.rows().items():
            yield name, _parse_record(data[row[OFFSET] : row[OFFSET] + row[LENGTH]])


def _check_row(row: Any) -> None:
    if not isinstance(row, list) or len(row) <= FAMILY or type(row[OFFSET]) is not int:
        raise CorruptedCatalogueError(f"{INDEX_FILE} is damaged")


def _models_header(content_hash: str) -> bytes:
    """How the data of a hash begins."""
    return b'{"hash":"' + str(content_hash).encode() + b'"'


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


# --- Writing --------------------------------------------------------------------------------


def encode_catalogue(
    records: Mapping[str, Mapping[str, Any]],
    provider_records: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> tuple[bytes, bytes]:
    """The contents of `models.json` and `index.json`."""
    import hashlib

    encoded_records = [
        (name, _encode_json(name), _encode_json(record)) for name, record in sorted(records.items())
    ]
    digest = hashlib.sha256()
    for _, key, body in encoded_records:
        digest.update(key + body)
    content_hash = digest.hexdigest()[:16]
    parts = [_models_header(content_hash) + b',"models":{\n']
    rows: list[bytes] = []
    offset = len(parts[0])
    for position, (name, key, body) in enumerate(encoded_records):
        row = build_row(records[name], offset + len(key) + 1, len(body))
        rows.append(key + b":" + _encode_json(row))
        separator = b",\n" if position + 1 < len(encoded_records) else b"\n"
        parts.append(key + b":" + body + separator)
        offset += len(parts[-1])
    parts.append(b"}}\n")
    header = {
        "format": FORMAT_VERSION,
        "hash": content_hash,
        **metadata,
        "count": len(encoded_records),
    }
    providers = [
        _encode_json(name) + b":" + _encode_json(provider_record)
        for name, provider_record in sorted(provider_records.items())
    ]
    index = b"".join(
        [
            _encode_json(header)[:-1],
            b',\n"providers":{\n',
            b",\n".join(providers),
            b'\n},\n"models":{\n',
            b",\n".join(rows),
            b"\n}}\n",
        ]
    )
    return b"".join(parts), index


def _encode_json(value: Any) -> bytes:
    # A lone surrogate, which JSON may escape, could not be written as UTF-8.
    return json.dumps(value, separators=(",", ":")).encode()


def write_catalogue(directory: str, models: bytes, index: bytes) -> None:
    """Make a compiled catalogue the current one. Readers see the old or the new, never a mixture.

    The generation before is kept.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    os.makedirs(directory, exist_ok=True)
    models_path = os.path.join(directory, MODELS_FILE)
    temp_paths = []
    try:
        temp_paths.append(write_temp_file(directory, MODELS_FILE, models))
        temp_paths.append(write_temp_file(directory, INDEX_FILE, index))
        if _index_matches_models(directory):  # else the one before is what the index speaks of
            _replace_with_link(models_path, os.path.join(directory, PREVIOUS_MODELS_FILE))
        os.replace(temp_paths[0], models_path)
        os.replace(temp_paths[1], os.path.join(directory, INDEX_FILE))
    finally:
        for path in temp_paths:
            remove_if_exists(path)


def _index_matches_models(directory: str) -> bool:
    """Whether the index speaks of `models.json` itself."""
    try:
        expected = _models_header(FileCatalogue(directory).metadata["hash"])
        with open(os.path.join(directory, MODELS_FILE), "rb") as file:
            return file.read(len(expected)) == expected
    except (OSError, CorruptedCatalogueError):
        return False


def _replace_with_link(source: str, target: str) -> None:
    """Make `target` another name of `source`'s content, at once."""
    temp_path = f"{target}.{os.getpid()}.tmp"
    try:
        try:
            os.link(source, temp_path)
        except OSError:  # a file system without links
            import shutil

            shutil.copyfile(source, temp_path)
        os.replace(temp_path, target)
    finally:
        remove_if_exists(temp_path)
