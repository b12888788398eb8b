"""Upload attachments to the provider of the model (`--upload`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..display.status import hide_status, show_status
from .attachments import STDIN

if TYPE_CHECKING:
    from ...types import FileContent


def upload_attachments(
    sources: list[str], models: list[str], options: dict[str, Any]
) -> list[FileContent]:
    """Upload files, and return the content of messages for them.

    Raises:
        ValueError: The provider takes no uploads, or rejects one; the models have several
            providers; a file is piped input or a URL.
        OSError: A file cannot be read.
    """
    from ... import PipyError, upload
    from ...files import is_web_url

    provider = models[0].partition("/")[0]
    if any(model.partition("/")[0] != provider for model in models):
        raise ValueError("--upload needs models of one provider: others cannot read the files")
    files = []
    for source in sources:
        if source == STDIN or is_web_url(source) or source[:5].lower() == "data:":
            raise ValueError(f"--upload needs files, not -a {source}")
        show_status(f"uploading {source}")
        try:
            api_key, api_base = options.get("api_key"), options.get("api_base")
            files.append(upload(source, provider=provider, api_key=api_key, api_base=api_base))
        except PipyError as error:
            raise ValueError(f"{source} was not uploaded: {error}") from None
        finally:
            hide_status()
    return files
