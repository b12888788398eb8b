"""Save the files that code which the provider ran has created."""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING

from .status import hide_status, show_status
from .terminal import format_error, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...file_storage.verbs import DownloadedFile
    from ...types import AssistantMessage

_SUFFIX = re.compile(r"\.\w{1,10}", re.ASCII)


def save_created_files(
    answers: Sequence[AssistantMessage], api_base: str | None, output: str | None = None
) -> bool:
    """Download the files that code created, and print their paths on stderr.

    The first one is saved as `output`, all others as `file` with their suffix, numbered if there
    is such a file: a model must not choose names like `conftest.py`.

    Returns:
        Whether all of them were saved.
    """
    from ... import PipyError, download
    from ...provider.content import UPLOAD_PROVIDERS

    files = [f for answer in answers for f in answer.files if f.provider in UPLOAD_PROVIDERS]
    all_saved = True
    for index, file in enumerate(files):
        show_status(f"downloading {file.name or file.id}")
        try:
            loaded = download(file, api_base=api_base)
            path = loaded.save(output) if output and index == 0 else _save_as_new(loaded)
        except (PipyError, ValueError, OSError) as error:
            text = format_error(error) if isinstance(error, OSError) else str(error)
            warn(f"{file.name or file.id} was not saved: {text}")
            all_saved = False
        else:
            warn(f"saved {path}")
        finally:
            hide_status()
    return all_saved


def _save_as_new(file: DownloadedFile) -> str:
    suffix = os.path.splitext(file.name)[1]
    suffix = suffix if _SUFFIX.fullmatch(suffix) else ""
    for number in itertools.count(1):
        path = f"file{suffix}" if number == 1 else f"file-{number}{suffix}"
        try:
            with open(path, "xb") as target:
                target.write(file.bytes)
        except FileExistsError:
            continue
        return path
    raise AssertionError("there is always a next number")
