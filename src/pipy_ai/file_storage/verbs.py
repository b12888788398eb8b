"""`upload`, `download` and `delete_file`, and their async versions."""

from __future__ import annotations

import asyncio
import builtins
import codecs
import contextlib
import io
import itertools
import mimetypes
import mmap
import os
import re
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from .._requests import build_request
from ..batch_api.client import BatchClient
from ..errors import ErrorKind, ProviderError, error_info, exception_for
from ..files import FileSource, check_pdf, is_pdf, is_web_url, sniff_image_type
from ..media import check_media, media_suffix, sniff_media_type
from ..options import Options
from ..provider.transport import direct_wire
from ..types import FileContent
from ..utils.atomic import AtomicWriter
from ..utils.event_loop import run_blocking
from ..utils.surrogates import clean_surrogates
from .reuse import find_upload, forget_upload, hash_file, save_upload, upload_key
from .vendors import FILE_APIS, FileAPI, LocalFile

__all__ = [
    "DownloadedFile",
    "adelete_file",
    "adownload",
    "aupload",
    "delete_file",
    "download",
    "upload",
]

_SNIFF_BYTES = 4096
_PROVIDER_NAMES = {"gemini": "google"}  # what the vendor is called, and its name in the catalogue


def upload(
    file: FileSource,
    *,
    provider: str,
    name: str | None = None,
    mime_type: str | None = None,
    expires_in: int | None = None,
    reuse: bool = True,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> FileContent:
    """Upload a file to OpenAI, Anthropic or Gemini, and return the content of messages for it.

    The file is read from the disk while it is sent, so its size does not matter for memory. The
    same file is uploaded once for each provider and API key, until it expires or is deleted;
    `uploads.json` in the data directory remembers it.

    Args:
        file: A path or the bytes of a file.
        provider: `openai`, `anthropic` or `google`.
        name: The name of the file at the provider. By default, that of the path.
        mime_type: The media type. By default, that of the content, or else of the name.
        expires_in: Seconds after which OpenAI or Anthropic deletes the file; at least 3600. By
            default they keep it. Gemini deletes files after 48 hours.
        reuse: Whether an earlier upload of the same file is returned instead.
        api_key: The API key. None: as for requests.
        api_base: The base URL of the server. None: as for requests.

    Returns:
        The file, for `user("…", file)`.

    Raises:
        ValueError: The provider has no uploads, the file is empty, truncated, encrypted or larger
            than it accepts, or `expires_in` is out of range.
        OSError: The file cannot be read.
        PipyError: The key is missing, or the provider rejected the file.

    Example:
        >>> from pipy_ai import complete, upload, user
        >>> film = upload("film.mp4", provider="google")  # doctest: +SKIP
        >>> complete("google/gemini-2.5-pro", user("What happens?", film))  # doctest: +SKIP
    """
    uploading = aupload(
        file, provider=provider, name=name, mime_type=mime_type, expires_in=expires_in,
        reuse=reuse, api_key=api_key, api_base=api_base,
    )  # fmt: skip
    return run_blocking(uploading, "aupload")


async def aupload(
    file: FileSource,
    *,
    provider: str,
    name: str | None = None,
    mime_type: str | None = None,
    expires_in: int | None = None,
    reuse: bool = True,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> FileContent:
    """Upload a file to a provider. The async version of `upload`."""
    provider = _checked_provider(provider)
    with _on_disk(file, name, mime_type) as local, _public_errors():
        client, api = await _connect(provider, api_key, api_base)
        _check_upload(local, provider, api, expires_in)
        digest = await asyncio.to_thread(hash_file, local.path)
        key = upload_key(
            provider, client.url_of(""), client.key_fingerprint, digest, local.name, local.mime_type
        )
        known = find_upload(key) if reuse else None
        if known is not None and await api.exists(known):
            return known
        stored = await api.upload(local, expires_in)
    save_upload(key, stored)
    return stored


def download(
    file: FileContent | str,
    *,
    provider: str | None = None,
    container_id: str | None = None,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> DownloadedFile:
    """Download a file that is stored at a provider, such as one that its code execution created.

    Args:
        file: A file of `message.files`, or the provider's id of a file.
        provider: `openai`, `anthropic` or `google`; needed for an id.
        container_id: The container of OpenAI's code execution; needed for the id of such a file.
        api_key: The API key. None: as for requests.
        api_base: The base URL of the server. None: as for requests.

    Raises:
        ValueError: `provider` is missing, or has no files.
        PipyError: The key is missing, the file does not exist for this key, or the provider does
            not let it be downloaded.

    Example:
        >>> from pipy_ai import download
        >>> for file in message.files:  # doctest: +SKIP
        ...     print(download(file).save())
    """
    downloading = adownload(
        file, provider=provider, container_id=container_id, api_key=api_key, api_base=api_base
    )
    return run_blocking(downloading, "adownload")


async def adownload(
    file: FileContent | str,
    *,
    provider: str | None = None,
    container_id: str | None = None,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> DownloadedFile:
    """Download a file that is stored at a provider. The async version of `download`."""
    wanted = _stored_file(file, provider, container_id)
    with _public_errors():
        _, api = await _connect(wanted.provider, api_key, api_base)
        if not wanted.name:
            wanted = await api.describe(wanted)
        output = io.BytesIO()
        await api.download(wanted, output)
    name = _safe_name(wanted.name or wanted.id)
    mime_type = wanted.mime_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return DownloadedFile(name, mime_type, output.getvalue())


def delete_file(
    file: FileContent | str,
    *,
    provider: str | None = None,
    container_id: str | None = None,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> None:
    """Delete a file that is stored at a provider.

    Args:
        file: A file, or the provider's id of one.
        provider: `openai`, `anthropic` or `google`; needed for an id.
        container_id: The container of OpenAI's code execution; needed for the id of such a file.
        api_key: The API key. None: as for requests.
        api_base: The base URL of the server. None: as for requests.

    Raises:
        ValueError: `provider` is missing, or has no files.
        PipyError: The key is missing, or the file does not exist for this key.
    """
    deleting = adelete_file(
        file, provider=provider, container_id=container_id, api_key=api_key, api_base=api_base
    )
    run_blocking(deleting, "adelete_file")


async def adelete_file(
    file: FileContent | str,
    *,
    provider: str | None = None,
    container_id: str | None = None,
    api_key: str | Callable[[], Any] | None = None,
    api_base: str | None = None,
) -> None:
    """Delete a file that is stored at a provider. The async version of `delete_file`."""
    wanted = _stored_file(file, provider, container_id)
    with _public_errors():
        _, api = await _connect(wanted.provider, api_key, api_base)
        await api.delete(wanted)
    forget_upload(wanted)


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that was downloaded from a provider."""

    name: str
    """The name of the file, without directories and leading dots."""
    mime_type: str
    """The media type."""
    bytes: builtins.bytes = field(repr=False)
    """The content."""

    def save(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the content to a file and return its path.

        Without `path`, the file gets its own name in the current directory, numbered if there is
        such a file. A directory gets the file under its own name. Another existing file is
        replaced.

        Raises:
            OSError: The file cannot be written.
        """
        if path is None:
            return self._save_as_new()
        target = Path(path)
        if target.is_dir():
            target /= self.name
        with AtomicWriter(target) as file:
            file.write(self.bytes)
        return target

    def _save_as_new(self) -> Path:
        stem, suffix = os.path.splitext(self.name)
        for number in itertools.count(1):
            target = Path(self.name if number == 1 else f"{stem}-{number}{suffix}")
            with contextlib.suppress(FileExistsError), target.open("xb") as file:
                file.write(self.bytes)
                return target
        raise AssertionError("there is always a next number")


@contextlib.contextmanager
def _public_errors() -> Generator[None, None, None]:
    try:
        yield
    except ProviderError as failure:
        raise exception_for(failure.error) from None


def _checked_provider(provider: str) -> str:
    name = _PROVIDER_NAMES.get(provider, provider)
    if name not in FILE_APIS:
        raise ValueError(
            f"pipy-ai cannot upload files to {provider!r}, only to {', '.join(sorted(FILE_APIS))}"
        )
    return name


def _safe_name(name: str) -> str:
    """Return the last part of a name that a model may have chosen; it is never hidden."""
    last_part = os.path.basename(name.replace("\\", "/").rstrip("/"))
    return re.sub(r"[\x00-\x1f\x7f]", "", clean_surrogates(last_part)).lstrip(".") or "file"


def _stored_file(
    file: FileContent | str, provider: str | None, container_id: str | None
) -> FileContent:
    if isinstance(file, FileContent):
        _checked_provider(file.provider)
        return file
    if provider is None:
        raise ValueError(f"provider= is missing: the provider that stores the file {file!r}")
    name = _checked_provider(provider)
    return FileContent(id=file, provider=name, container_id=container_id)


async def _connect(
    provider: str, api_key: str | Callable[[], Any] | None, api_base: str | None
) -> tuple[BatchClient, FileAPI]:
    options: Options = {"api_key": api_key, "api_base": api_base}
    request = build_request(f"{provider}/model", "-", None, options)
    wire = direct_wire(request)
    if wire is None:
        text = f"Files of {provider} need the direct transport: unset PIPY_TRANSPORT."
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=provider))
    client = BatchClient(request, wire)
    await client.connect()
    return client, FILE_APIS[provider](client)


@contextlib.contextmanager
def _on_disk(
    source: FileSource, name: str | None, mime_type: str | None
) -> Generator[LocalFile, None, None]:
    """Yield a file on the disk; bytes are written to a temporary one."""
    if isinstance(source, bytes | bytearray | memoryview):
        with tempfile.TemporaryDirectory(prefix="pipy-upload-") as directory:
            path = os.path.join(directory, "file")
            Path(path).write_bytes(source)
            yield _local_file(path, name, mime_type)
        return
    if is_web_url(source) or (isinstance(source, str) and source[:5].lower() == "data:"):
        raise ValueError("upload needs a path or bytes, not a URL")
    path = os.fspath(source)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a directory, not a file")
    yield _local_file(path, name or os.path.basename(path), mime_type)


def _local_file(path: str, name: str | None, mime_type: str | None) -> LocalFile:
    with open(path, "rb") as file:
        head = file.read(_SNIFF_BYTES)
        size = os.fstat(file.fileno()).st_size
        if not head:
            raise ValueError(f"{name or 'the file'} is empty")
        mime_type = mime_type or _detect_type(head, name)
        _check_content(file, mime_type, name or "the file")
    return LocalFile(
        path, clean_surrogates(name) if name else f"file{media_suffix(mime_type)}", mime_type, size
    )


def _detect_type(head: bytes, name: str | None) -> str:
    sniffed = sniff_image_type(head) or sniff_media_type(head)
    if sniffed is not None:
        return sniffed
    if is_pdf(head):
        return "application/pdf"
    guessed = mimetypes.guess_type(name or "")[0]
    if guessed is not None:
        return guessed
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
        if b"\0" not in head:
            return "text/plain"
    return "application/octet-stream"


def _check_content(file: BinaryIO, mime_type: str, label: str) -> None:
    """Raise ValueError for a truncated audio or video, or an encrypted PDF."""
    is_media = mime_type.startswith(("audio/", "video/"))
    if not is_media and mime_type != "application/pdf":
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:  # not read into memory
        if is_media:
            check_media(content, mime_type, label)
        else:
            check_pdf(content, label)


def _check_upload(file: LocalFile, provider: str, api: FileAPI, expires_in: int | None) -> None:
    if api.max_bytes is not None and file.size > api.max_bytes:
        raise ValueError(
            f"{file.name} has {file.size:,} bytes, more than the {api.max_bytes:,} that {provider}"
            " accepts"
        )
    if expires_in is None:
        return
    if api.lifetime_s is None:
        raise ValueError(f"{provider} chooses when files expire: leave out expires_in")
    shortest, longest = api.lifetime_s
    if not shortest <= expires_in <= longest:
        raise ValueError(
            f"expires_in must be from {shortest:,} to {longest:,} seconds, got {expires_in:,}"
        )
