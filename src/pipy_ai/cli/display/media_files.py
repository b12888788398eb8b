"""Save the images and audio of answers as files, and show the images if the terminal can."""

from __future__ import annotations

import itertools
import os
import tempfile
from typing import TYPE_CHECKING

from ...media import media_suffix
from ...utils.atomic import remove_if_exists
from .inline_images import show_image
from .terminal import format_error, warn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ...types import AssistantMessage, AudioContent, ImageContent

AUDIO_SUFFIXES = (".wav", ".mp3", ".ogg", ".opus", ".flac", ".aac", ".m4a")
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".avif", ".heic", ".bmp", ".tif", ".tiff",
)  # fmt: skip


def is_media_path(path: str) -> bool:
    """Return whether a file name has a suffix of images or audio."""
    return path.lower().endswith(IMAGE_SUFFIXES + AUDIO_SUFFIXES)


def check_output_path(path: str) -> None:
    """Check, before anything is paid for, that a file can be created at `path`.

    Raises:
        ValueError: It is a directory, or its directory does not exist or is not writable.
    """
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise ValueError(f"--output {path}: it is a directory; name a file")
    if not os.path.isdir(directory):
        raise ValueError(f"--output {path}: the directory {directory} does not exist")
    if not os.access(path if os.path.exists(path) else directory, os.W_OK):
        raise ValueError(f"--output {path}: no permission to write there")


def save_media(
    answers: Iterable[AssistantMessage], output: str | None = None, prefix: str = ""
) -> bool:
    """Save the images and audio of answers, and print their paths on stderr; show the images.

    Args:
        answers: The answers.
        output: The file of the first image, or of the first audio if the suffix is one of audio.
            It is replaced. All others get a new name beside it, or in the current directory.
        prefix: What the printed lines begin with, such as the name of the model.

    Returns:
        Whether all of them were saved, and `output` is among them.
    """
    media: list[ImageContent | AudioContent] = [
        part
        for message in answers
        for part in message.content
        if (part.type == "image" or part.type == "audio") and (part.data or part.url)
    ]
    if output is not None:
        if not media:
            warn(f"the answer has no image and no audio; {output} was not written")
            return False
        wants_audio = output.lower().endswith(AUDIO_SUFFIXES)
        media.sort(key=lambda part: (part.type == "audio") != wants_audio)  # stable
    results = []
    for index, part in enumerate(media):
        stem = os.path.splitext(output)[0] if output else part.type
        targets = [(stem, True), (os.path.join(tempfile.gettempdir(), part.type), True)]
        if output and index == 0:
            targets.insert(0, (output, False))
        if part.type == "image":
            show_image(part)
        results.append(_save(part, targets, prefix))
    return all(results)


def _save(
    part: ImageContent | AudioContent, targets: Iterable[tuple[str, bool]], prefix: str
) -> bool:
    """Save an image or audio to the first possible target. Return whether that is the first one.

    A target is a path, or the beginning of one that is completed to a new one.
    """
    if not part.data and part.url and not part.url.startswith("data:"):
        warn(f"{prefix}the {part.type} is at {part.url}")
        return True
    saved_elsewhere = False
    for path, is_new in targets:
        try:
            saved_path = _save_as_new(part, path) if is_new else part.save(path)
        except OSError as error:  # it was paid for, so try the next target
            warn(f"{prefix}{format_error(error)}")
            saved_elsewhere = True
        except ValueError as error:
            warn(f"{prefix}the {part.type} was not saved: {error}")
            return False
        else:
            warn(f"{prefix}saved {saved_path}")
            return not saved_elsewhere
    return False


def _save_as_new(part: ImageContent | AudioContent, stem: str) -> Path:
    """Save an image or audio to `stem` with its suffix, numbered if that file exists."""
    suffix = media_suffix(part.mime_type)
    for number in itertools.count(1):
        path = f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # reserve the name
        except FileExistsError:
            continue
        try:
            return part.save(path)
        except BaseException:
            remove_if_exists(path)
            raise
    raise AssertionError("there is always a next number")
