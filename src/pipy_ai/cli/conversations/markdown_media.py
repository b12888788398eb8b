"""Write the images and other media of an exported conversation beside its Markdown file."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...media import add_wav_header, content_bytes, media_suffix
from ...utils.atomic import write_atomically

if TYPE_CHECKING:
    from ...types import AudioContent, DocumentContent, ImageContent, VideoContent


class MarkdownMedia:
    """The directory `talk_files` beside `talk.md`. Equal media is written once."""

    def __init__(self, markdown_path: str) -> None:
        path = self._path = os.path.expanduser(markdown_path)
        self._is_file = os.path.isfile(path) or not os.path.exists(path)  # not a pipe or device
        self._directory = f"{os.path.splitext(os.path.realpath(path))[0]}_files"

    def link(
        self, part: ImageContent | AudioContent | VideoContent | DocumentContent
    ) -> str | None:
        """Write media to the directory, and return a link to it; None: there is only a URL.

        Raises:
            OSError: The file cannot be written.
        """
        if not part.data or not self._is_file:
            return None
        try:
            data = content_bytes(part)
        except ValueError:  # not base64
            return None
        name = f"{part.type}-{hashlib.sha256(data).hexdigest()[:8]}{media_suffix(part.mime_type)}"
        path = os.path.join(self._directory, name)
        try:
            os.mkdir(self._directory, 0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None
        write_atomically(path, add_wav_header(data, part.mime_type))
        label = (part.name if part.type == "document" else None) or part.type
        label = re.sub(r"([\\\[\]`*_<>])", r"\\\1", " ".join(label.split()))
        mark = "!" if part.type == "image" else ""
        return f"{mark}[{label}]({quote(os.path.basename(self._directory))}/{quote(name)})"
