"""The file of a cassette: YAML that is read, merged and written as a whole."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..utils.atomic import AtomicWriter, hold_lock
from ..utils.yaml_text import parse_yaml
from .cassette_masking import mask_accounts, masked_body, masked_headers
from .redaction import MASK, redact

FORMAT = 1
LOCK_TIMEOUT_S = 30.0
MAX_NODES = 10_000_000  # of YAML: a cassette may hold thousands of requests
MAX_DIFF_LINES = 40
MAX_DIFF_LINE_CHARS = 200
MAX_COMPARED_CHARS = 20_000

_OWN_CALL_ID = "call_[0-9a-f]{24}"


class CassetteError(ValueError):
    """A file is not a valid cassette."""


@dataclass(slots=True)
class Interaction:
    """A request and its response, or the error that took its place.

    Attributes:
        request: method, URL, headers and body, without secrets.
        status: 0: the connection broke before a response.
        pieces: the body as it was read, each piece with the seconds since the request.
        complete: whether the body was read to its end.
        secrets: what must not reach the file. Only of recorded interactions.
        entry: what the file has of it. None: it was recorded now.
    """

    request: dict[str, Any]
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    complete: bool = False
    error: str = ""
    secrets: list[str] = field(default_factory=list, repr=False)
    entry: dict[str, Any] | None = field(default=None, repr=False)

    def copy(self) -> Interaction:
        """Return the interaction as it is now; its response may still be read."""
        return replace(self, pieces=list(self.pieces))

    def matches(self, request: Mapping[str, Any]) -> bool:
        """Return whether this is the recording of a request; a masked text matches any other."""
        return all(
            _equal(self.request.get(name), request.get(name)) for name in ("method", "url", "body")
        )


def _equal(recorded: Any, value: Any) -> bool:
    if isinstance(recorded, str) and isinstance(value, str):
        if "call_" in recorded:  # requests that run at once get our ids in any order
            recorded, value = (re.sub(_OWN_CALL_ID, "call_", text) for text in (recorded, value))
        return recorded == value or (MASK in recorded and _matches_masked(recorded, value))
    if isinstance(recorded, dict) and isinstance(value, dict):
        return recorded.keys() == value.keys() and all(
            _equal(item, value[name]) for name, item in recorded.items()
        )
    if isinstance(recorded, list) and isinstance(value, list):
        return len(recorded) == len(value) and all(map(_equal, recorded, value))
    return type(recorded) is type(value) and bool(recorded == value)


def _matches_masked(recorded: str, value: str) -> bool:
    """Return whether a text equals a recorded one, where a mask stands for any text."""
    first, *middle, last = recorded.split(MASK)
    if len(value) < len(first) + len(last):
        return False
    if not (value.startswith(first) and value.endswith(last)):
        return False
    position, end = len(first), len(value) - len(last)
    for part in middle:
        position = value.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


# --- Writing ----------------------------------------------------------------------------------


def merge_into(
    path: Path, recorded: Sequence[Interaction], known: int, replaced: Sequence[Interaction]
) -> None:
    """Add interactions to a file, which another process may have written meanwhile.

    A request that both recorded equally often is not added twice. `known` is how many interactions
    of the file were already there; those of `replaced` are removed.

    Raises:
        OSError: The file cannot be written. It keeps its old content.
        CassetteError: The file is no longer a valid cassette.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(_lock_path(path), LOCK_TIMEOUT_S):
        current = load(path, damaged_is_empty=bool(replaced)) if path.exists() else []
        old = [_entry(interaction) for interaction in replaced]
        entries = [entry for entry in map(_entry, current) if entry not in old]
        others = [entry["request"] for entry in entries[known:]]
        for interaction in recorded:
            entry = _entry(interaction)
            if entry["request"] in others:
                others.remove(entry["request"])
            else:
                entries.append(entry)
        content = _dump({"version": FORMAT, "interactions": entries})
        with AtomicWriter(path) as file:
            file.write(content)


def _lock_path(path: Path) -> str:
    """Return a path outside of the folder of the tests, the same in every process of the user."""
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else 0
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:24]
    return os.path.join(tempfile.gettempdir(), f"pipy-cassette-{user}-{name}.lock")


def _entry(interaction: Interaction) -> dict[str, Any]:
    """Return an interaction as it is written."""
    if interaction.entry is not None:
        return interaction.entry
    entry: dict[str, Any] = {"request": interaction.request}
    if not interaction.status:
        return {**entry, "error": _masked(interaction.error, interaction)}
    headers = masked_headers(interaction.headers, interaction.secrets)
    response: dict[str, Any] = {"status": interaction.status, "headers": headers}
    body = b"".join(piece for _, piece in interaction.pieces)
    body = masked_body(interaction.status, body, interaction.secrets)
    text = _yaml_text(body)
    if text is None:
        response["base64"] = base64.encodebytes(body).decode()
    else:
        response["body"] = text
    if interaction.pieces:
        response["pieces"] = " ".join(
            f"{len(piece)}@{seconds:.3f}" for seconds, piece in interaction.pieces
        )
    if interaction.error:
        response["error"] = _masked(interaction.error, interaction)
    elif not interaction.complete:
        response["complete"] = False
    return {**entry, "response": response}


def _masked(text: str, interaction: Interaction) -> str:
    return mask_accounts(redact(text, interaction.secrets))


def _yaml_text(body: bytes) -> str | None:
    """Return a body as text; None: YAML cannot represent it."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return (
        text
        if re.fullmatch(
            r"[\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*", text
        )
        else None
    )


def _dump(document: Any) -> bytes:
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent_text(dumper: Dumper, text: str) -> Any:
        style = "|" if "\n" in text else None
        if re.search("[\r\x85\u2028\u2029\ufeff]", text):  # of which YAML makes line breaks
            style = '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent_text)
    text = yaml.dump(
        document, Dumper=Dumper, allow_unicode=True, sort_keys=False, width=sys.maxsize
    )
    return text.encode("utf-8", "surrogatepass")


# --- Reading ----------------------------------------------------------------------------------


def load(path: Path, damaged_is_empty: bool = False) -> list[Interaction]:
    """Read a cassette.

    Raises:
        CassetteError: It is not valid, and `damaged_is_empty` is false.
        OSError: It cannot be read.
    """
    if damaged_is_empty and not path.exists():
        return []
    try:
        try:
            document = parse_yaml(path.read_text(encoding="utf-8"), MAX_NODES)
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8 text") from None
        return _interactions(document)
    except ValueError as error:
        if damaged_is_empty:
            return []
        raise CassetteError(
            f"{os.fspath(path)!r} is not a valid cassette: {error}. "
            "Correct it, or delete it and record again."
        ) from None


def _interactions(document: Any) -> list[Interaction]:
    if not isinstance(document, dict) or not isinstance(document.get("interactions"), list):
        raise ValueError("there is no list `interactions`")
    if document.get("version") != FORMAT:
        raise ValueError(f"`version` must be {FORMAT}, not {document.get('version')!r}")
    interactions: list[Interaction] = []
    for number, entry in enumerate(document["interactions"], 1):
        try:
            interactions.append(_interaction(entry))
            interactions[-1].entry = entry
        except (ValueError, TypeError) as error:
            raise ValueError(f"interaction {number}: {error}") from None
    return interactions


_KINDS: dict[type, str] = {
    str: "text", int: "a number", dict: "a mapping", bool: "true or false",
}  # fmt: skip


def _field(mapping: Any, name: str, kind: type, default: Any = None) -> Any:
    value = mapping.get(name, default) if isinstance(mapping, dict) else None
    if type(value) is not kind:
        raise ValueError(f"`{name}` must be {_KINDS[kind]}, not {value!r:.60}")
    return value


_FIELDS = {
    "interaction": {"request", "response", "error"},
    "request": {"method", "url", "headers", "body"},
    "response": {"status", "headers", "body", "base64", "pieces", "error", "complete"},
}


def _check_fields(mapping: Any, kind: str) -> None:
    unknown = set(mapping) - _FIELDS[kind] if isinstance(mapping, dict) else ()
    for name in unknown:
        raise ValueError(f"{name!r} is not a field of {'an' if kind[0] == 'i' else 'a'} {kind}")


def _interaction(entry: Any) -> Interaction:
    _check_fields(entry, "interaction")
    request = _field(entry, "request", dict)
    _check_fields(request, "request")
    for name in ("method", "url"):
        _field(request, name, str)
    if "response" not in entry:
        return Interaction(request, error=_field(entry, "error", str))
    response = _field(entry, "response", dict)
    _check_fields(response, "response")
    status = _field(response, "status", int)
    if not 200 <= status < 600:
        raise ValueError(f"`status` must be from 200 to 599, not {status}")
    headers = {
        str(name).lower(): str(value)
        for name, value in _field(response, "headers", dict, {}).items()
    }
    if "base64" in response:
        try:
            body = base64.b64decode("".join(_field(response, "base64", str).split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("`base64` is not valid base64") from None
    else:
        body = _field(response, "body", str, "").encode("utf-8", "surrogatepass")
    error = _field(response, "error", str, "")
    complete = _field(response, "complete", bool, not error)
    pieces = _split(body, _field(response, "pieces", str, ""))
    return Interaction(request, status, headers, pieces, complete, error)


def _split(body: bytes, text: str) -> list[tuple[float, bytes]]:
    """Return a body in its recorded pieces. An edited body has another length: the last differs."""
    pieces: list[tuple[float, bytes]] = []
    start, seconds = 0, 0.0
    for item in text.split():
        match = re.fullmatch(r"(\d{1,9})@(\d{1,6}(?:\.\d{1,6})?)", item)
        if match is None:
            raise ValueError(f"`pieces` must be like `17@0.250 4@0.300`, not {item!r:.60}")
        size, seconds = int(match[1]), float(match[2])
        if piece := body[start : start + size]:
            pieces.append((seconds, piece))
        start += size
    if start < len(body):
        pieces.append((seconds, body[start:]))
    return pieces


# --- Explaining -------------------------------------------------------------------------------


def difference(recorded: Sequence[Mapping[str, Any]], request: Mapping[str, Any]) -> str:
    """Return the difference between a request and the most similar recorded one."""
    import difflib

    text = _readable(request)
    matcher = difflib.SequenceMatcher(b="\n".join(text)[:MAX_COMPARED_CHARS], autojunk=True)

    def similarity(candidate: Mapping[str, Any]) -> float:
        matcher.set_seq1("\n".join(_readable(candidate))[:MAX_COMPARED_CHARS])
        return matcher.quick_ratio()

    nearest = max(recorded, key=similarity)
    number = list(recorded).index(nearest) + 1
    lines = difflib.unified_diff(
        _readable(nearest), text, f"recorded request {number}", "this request", n=2, lineterm=""
    )
    shown = [
        line if len(line) <= MAX_DIFF_LINE_CHARS else f"{line[:MAX_DIFF_LINE_CHARS]}…"
        for line in lines
    ]
    if len(shown) > MAX_DIFF_LINES:
        shown[MAX_DIFF_LINES:] = [f"… and {len(shown) - MAX_DIFF_LINES} more lines"]
    return "\n".join(shown)


def _readable(request: Mapping[str, Any]) -> list[str]:
    body = json.dumps(request.get("body"), indent=1, ensure_ascii=False, sort_keys=True)
    return [f"{request.get('method')} {request.get('url')}", *body.splitlines()]
