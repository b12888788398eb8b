"""Write the catalogue's files: see `index`."""

from __future__ import annotations

import os

from ..utils.atomic import (
    make_private_dir,
    remove_if_exists,
    sync_directory,
    write_temp_file,
)
from ..utils.file_errors import name_file
from .index import (
    FORMAT_VERSION,
    INDEX_FILE,
    MODELS_FILE,
    NAMES_PREFIX,
    PREVIOUS_MODELS_FILE,
    STATUS,
    CorruptedCatalogueError,
    FileCatalogue,
    build_row,
    encode_json,
    models_header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def encode_catalogue(
    records: Mapping[str, Mapping[str, Any]],
    provider_records: Mapping[str, Any],
    metadata: Mapping[str, Any],
) -> tuple[bytes, bytes]:
    """Return the contents of `models.json` and `index.json`."""
    import hashlib

    encoded_records = [
        (name, encode_json(name), encode_json(record)) for name, record in sorted(records.items())
    ]
    digest = hashlib.sha256()
    for _, key, body in encoded_records:
        digest.update(key + body)
    content_hash = digest.hexdigest()[:16]
    parts = [models_header(content_hash) + b',"models":{\n']
    rows: list[bytes] = []
    names: list[str] = []
    offset = len(parts[0])
    for position, (name, key, body) in enumerate(encoded_records):
        row = build_row(records[name], offset + len(key) + 1, len(body))
        rows.append(key + b":" + encode_json(row))
        if row[STATUS] != "removed":
            names.append(name)
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
        encode_json(name) + b":" + encode_json(provider_record)
        for name, provider_record in sorted(provider_records.items())
    ]
    index = b"".join(
        [
            encode_json(header)[:-1],
            b"," + NAMES_PREFIX,
            encode_json(names),
            b',\n"providers":{\n',
            b",\n".join(providers),
            b'\n},\n"models":{\n',
            b",\n".join(rows),
            b"\n}}\n",
        ]
    )
    return b"".join(parts), index


def write_catalogue(directory: str, models: bytes, index: bytes) -> None:
    """Replace the catalogue of a directory. Readers see the old or the new one, never a mixture.

    The previous records are kept.

    Raises:
        OSError: The files cannot be written. The old catalogue stays.
    """
    make_private_dir(directory)
    with name_file(os.path.join(directory, MODELS_FILE)):
        _replace_catalogue(directory, models, index)


def _replace_catalogue(directory: str, models: bytes, index: bytes) -> None:
    models_path = os.path.join(directory, MODELS_FILE)
    temp_paths = []
    try:
        temp_paths.append(write_temp_file(directory, MODELS_FILE, models))
        temp_paths.append(write_temp_file(directory, INDEX_FILE, index))
        if _index_matches_models(
            directory
        ):  # else the index refers to the previous file, which must stay
            _replace_with_link(models_path, os.path.join(directory, PREVIOUS_MODELS_FILE))
        os.replace(temp_paths[0], models_path)
        os.replace(temp_paths[1], os.path.join(directory, INDEX_FILE))
        sync_directory(directory)
    finally:
        for path in temp_paths:
            remove_if_exists(path)


def _index_matches_models(directory: str) -> bool:
    """Whether the index refers to `models.json`, not to the previous file."""
    try:
        expected = models_header(FileCatalogue(directory).metadata["hash"])
        with open(os.path.join(directory, MODELS_FILE), "rb") as file:
            return file.read(len(expected)) == expected
    except (OSError, CorruptedCatalogueError):
        return False


def _replace_with_link(source: str, target: str) -> None:
    """Atomically make `target` a hard link to `source`, or a copy of it."""
    temp_path = f"{target}.{os.getpid()}.tmp"
    try:
        try:
            os.link(source, temp_path)
        except OSError:  # the file system does not support hard links
            with open(source, "rb") as file:
                directory, name = os.path.split(target)
                temp_path = write_temp_file(directory, name, file.read())
        os.replace(temp_path, target)
    finally:
        remove_if_exists(temp_path)
