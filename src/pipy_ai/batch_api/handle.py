"""`BatchHandle`: the jobs at a provider, as plain data without secrets."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..utils.atomic import write_atomically
from ..utils.encoding import read_text

if TYPE_CHECKING:
    from typing import Self

VERSION = 1

JobState: TypeAlias = Literal["prepared", "creating", "running", "ended", "collected"]


@dataclass(slots=True)
class BatchJob:
    """One job at a provider. `state` is its last known state.

    `prepared`: the requests are in a file; nothing was created. `creating`: the request that
    creates the job was sent, and its result is unknown. `running`: the provider works on it.
    `ended`: the provider is done with it. `collected`: its results were read.
    """

    key: str
    """Our own name of the job, which the provider keeps with it."""
    model: str
    """The full name, `provider/model_id`."""
    rows: int = 0
    """The number of requests."""
    state: JobState = "prepared"
    """What is known of the job."""
    id: str | None = None
    """The provider's id of the job."""
    status: str = ""
    """The provider's last word on it, such as `in_progress`."""
    completed: int = 0
    """The number of requests that were answered so far."""
    input_file: str | None = None
    """The provider's id of the uploaded requests."""
    created_at: str = ""
    """When it was created, by this computer's clock: UTC, ISO 8601."""
    newest_job: str | None = None
    """The id of the newest job at the provider before this one, where jobs have no names."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers that select beta features."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """The tools of the requests: name, description and parameters."""
    error: dict[str, Any] | None = None
    """Why it was not created: `kind` and `message`."""
    key_fingerprint: str = ""
    """Tells API keys apart without revealing them."""


@dataclass
class BatchHandle:
    """The jobs of one call of `submit_many`, and the rows that could not be sent.

    It is plain data without keys: `save` writes it to a file, from which another process continues
    with `BatchHandle.load` and `collect`.

    Example:
        >>> from pipy_ai import BatchHandle
        >>> BatchHandle.from_dict(BatchHandle(rows=2).to_dict()).rows
        2
    """

    rows: int = 0
    """The number of rows, including those that could not be sent."""
    jobs: list[BatchJob] = field(default_factory=list)
    """The jobs, in the order of the rows."""
    failures: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The errors of the rows that could not be sent, by index: `kind` and `message`."""
    api_base: str | None = None
    """The address, if it is not the provider's own."""
    path: str | None = field(default=None, compare=False)
    """The file that is kept up to date. None: there is none."""

    def __post_init__(self) -> None:
        # The arguments of `submit_many`, in its process. They may hold a key: they are no field.
        self.settings: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "settings": {}}

    def to_dict(self) -> dict[str, Any]:
        """Return the handle as JSON data."""
        data = dataclasses.asdict(self)
        del data["path"]
        failures = {str(index): error for index, error in self.failures.items()}
        return {"version": VERSION, **data, "failures": failures}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the handle that `to_dict` has described.

        Raises:
            ValueError: The data is not from `to_dict`, or from a newer version.
        """
        try:
            fields = dict(data)
            if fields.pop("version") != VERSION:
                raise ValueError("it was written by another version of pipy-ai")
            fields["jobs"] = [BatchJob(**job) for job in fields["jobs"]]
            fields["failures"] = {int(index): error for index, error in fields["failures"].items()}
            return cls(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the handle of a batch: {error!r}") from None

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the handle to a file, atomically, and keep the file up to date from now on.

        Raises:
            OSError: The file cannot be written.
            ValueError: `path` is missing, and the handle has no file yet.
        """
        if path is not None:
            self.path = os.path.abspath(path)
        if self.path is None:
            raise ValueError("save needs a path: the handle has no file yet")
        content = json.dumps(self.to_dict(), ensure_ascii=False, indent=1)
        write_atomically(self.path, content.encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a handle that `save` has written.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a handle.
        """
        try:
            handle = cls.from_dict(json.loads(read_text(os.fspath(path))))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None
        handle.path = os.path.abspath(path)
        return handle

    def update(self) -> None:
        """Write the handle to its file, if it has one."""
        if self.path is not None:
            self.save()

    def requests_path(self, job: BatchJob) -> Path:
        """Return the path of the requests of a job, which are next to the handle's file."""
        assert self.path is not None
        path = Path(self.path)
        return path.with_name(f".{path.name}.{job.key}.requests.jsonl")

    def results_path(self, job: BatchJob) -> Path:
        """Return the path to which the results of a job are downloaded."""
        path = self.requests_path(job)
        return path.with_name(path.name.replace(".requests.jsonl", ".results.jsonl"))
