"""The commands that write, what they must leave behind, and what must hold after a crash."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import shlex
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pipy_ai
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.files import list_conversation_ids
from pipy_ai.cli.main import main as command_line

from ..support.catalogues import feed
from ..support.feed_server import Mirror

for _module in pkgutil.walk_packages(pipy_ai.__path__, "pipy_ai."):
    if not _module.name.endswith(("__main__", "batch.dask")):
        importlib.import_module(_module.name)
KEY, OTHER_KEY = "sk-first-0123456789", "sk-second-0123456789"
LEDGER = {"PIPY_LEDGER": "1"}
CACHE = {"PIPY_CACHE": "1"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(4000)


@dataclass
class Home:
    """A directory with the data directory of pipy, and files of the user beside it."""

    path: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.path / "data"

    def run(
        self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `pipy` in the directory, in a fork of this process, which saves the imports."""
        own = {"PIPY_DATA_DIR": str(self.data), "PIPY_OFFLINE": "1", "PIPY_NO_SAVE": ""}
        (self.path.parent / "stdin").write_text(stdin)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _run_and_exit(self.path, arguments, {**own, **self.env, **(env or {})})
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        stdout, stderr = ((self.path.parent / name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(arguments, code, stdout, stderr)

    def output(self, *arguments: str, **how: Any) -> str:
        """Run `pipy`, which must succeed, and return its output."""
        done = self.run(*arguments, **how)
        assert done.returncode == 0, (arguments, done.returncode, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def copy(self, path: Path) -> Home:
        """Return a copy of the directory."""
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.path, path, symlinks=True)
        return Home(path, self.env)


@dataclass
class Workload:
    """A command that writes.

    `prepare` makes the files that it finds; `check` looks at what they hold after a crash, and
    with `complete` after the command succeeded.
    """

    name: str
    arguments: Sequence[str]
    check: Callable[[Home, bool], None]
    prepare: Callable[[Home], None] = lambda home: None
    stdin: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def run(self, home: Home, **env: str) -> subprocess.CompletedProcess[str]:
        return home.run(*self.arguments, stdin=self.stdin, env={**self.env, **env})


def _run_and_exit(directory: Path, arguments: Sequence[str], env: dict[str, str]) -> NoReturn:
    """Run `pipy` with the files `stdin`, `stdout` and `stderr` beside the directory."""
    code = 70
    try:
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            flags = os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(directory.parent / name, flags, 0o600), fd)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        os.chdir(directory)
        for name in [n for n in os.environ if n.endswith("_API_KEY") or n.startswith("PIPY_")]:
            del os.environ[name]
        os.environ |= env
        code = command_line(arguments)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


# --- What must hold -------------------------------------------------------------------------


def conversations(home: Home) -> dict[str, list[str]]:
    """Return the texts of all saved conversations."""
    os.environ["PIPY_DATA_DIR"] = str(home.data)
    return {
        name: [_text(message.content) for message in Conversation.read(name).messages]
        for name in list_conversation_ids()
    }


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if part.type == "text")


def check_files(home: Home, killed: bool) -> None:
    """Check that nothing is half written. A killed process may leave its last line incomplete."""
    for path in home.path.rglob("*"):
        if path.is_symlink() or not path.is_file() or "packaged" in path.parts:
            continue
        if path.suffix == ".tmp" or ".tmp/" in str(path):
            assert killed, f"{path} was left behind"
            continue
        if path.suffix in (".lock", ".partial") or path.name == "chat_history":
            continue
        assert path.stat().st_size or killed or path.name == "ledger.jsonl", f"{path} is empty"
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        if path.suffix == ".jsonl":
            lines = path.read_bytes().split(b"\n")
            last = lines.pop()
            assert not last or killed or path.name == "ledger.jsonl", f"{path} ends with {last!r}"
            for line in lines:
                # Processes share the ledger, so nobody cuts off the incomplete line of another.
                if path.name != "ledger.jsonl":
                    json.loads(line)


def check_leftovers(home: Home) -> None:
    """Check that `pipy doctor` reports the temporary files of the data directory."""
    leftovers = [str(path) for path in home.data.rglob("*.tmp")]
    if not leftovers:
        return
    for path in leftovers:
        os.utime(path, (0, 0))
    findings = json.loads(home.run("doctor", "--json").stdout)
    advice = " ".join(str(finding) for finding in findings)
    for path in leftovers:
        assert shlex.quote(path) in advice, f"doctor does not report {path}"


# --- The commands ---------------------------------------------------------------------------


def _first_question(home: Home) -> None:
    home.output("ask", "-m", "faux/echo", "the first")


def _check_ask(home: Home, complete: bool) -> None:
    texts = conversations(home)
    assert ["the first"] * 2 in texts.values(), texts
    if complete:
        assert ["the second"] * 2 in texts.values(), texts


def _image_file(home: Home) -> None:
    _first_question(home)
    (home.path / "cat.png").write_bytes(PNG)


def _check_image(home: Home, complete: bool) -> None:
    _check_ask(home, complete)
    images = [
        part
        for name in list_conversation_ids()
        for message in Conversation.read(name).messages
        for part in ([] if isinstance(message.content, str) else message.content)
        if part.type == "image"
    ]
    assert [image.bytes for image in images] == [PNG] * len(images)
    assert images or not complete


def _check_continued(home: Home, complete: bool) -> None:
    (texts,) = conversations(home).values()
    assert texts[:2] == ["the first"] * 2, texts
    if complete:
        assert texts[-2:] == ["the second"] * 2, texts


def _check_chat(home: Home, complete: bool) -> None:
    texts = conversations(home)
    assert ["the first"] * 2 in texts.values(), texts
    if complete:
        assert ["one", "one", "two", "two"] in texts.values(), texts


def _rows(home: Home) -> None:
    rows = [{"id": f"r{n}", "prompt": f"row {n}"} for n in range(3)]
    (home.path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _unsorted_answers(home: Home) -> None:
    _rows(home)
    home.output("batch", "in.jsonl", "-o", "out.jsonl", "-m", "faux/echo")
    answers = home.path / "out.jsonl"
    lines = answers.read_text().splitlines(keepends=True)
    answers.write_text(lines[2] + lines[0])


def _check_batch(home: Home, complete: bool) -> None:
    answers = home.path / "out.jsonl"
    lines = answers.read_bytes().split(b"\n")[:-1] if answers.exists() else []
    ids = [json.loads(line)["id"] for line in lines]
    assert len(set(ids)) == len(ids), ids
    if complete:
        assert ids == ["r0", "r1", "r2"], ids
        assert not list(home.path.glob(".out.jsonl.*.tmp"))


def _check_resumed_batch(home: Home, complete: bool) -> None:
    lines = (home.path / "out.jsonl").read_bytes().split(b"\n")[:-1]
    ids = [json.loads(line)["id"] for line in lines]
    assert {"r0", "r2"} <= set(ids), ids
    _check_batch(home, complete)


def _csv_rows(home: Home) -> None:
    (home.path / "in.csv").write_text("prompt\none\ntwo\n")


def _check_csv(home: Home, complete: bool) -> None:
    if complete:
        rows = [line.split(",")[:2] for line in (home.path / "out.csv").read_text().splitlines()]
        assert rows == [["prompt", "answer"], ["one", "one"], ["two", "two"]], rows


def _first_key(home: Home) -> None:
    home.output("keys", "set", "--file", "anthropic", stdin=KEY)


def _check_keys(home: Home, complete: bool) -> None:
    keys = json.loads((home.data / "keys.json").read_bytes())
    assert keys["ANTHROPIC_API_KEY"] == KEY, keys
    assert keys.get("OPENAI_API_KEY", OTHER_KEY) == OTHER_KEY, keys
    assert "OPENAI_API_KEY" in keys or not complete
    home.output("keys", "list")


def _two_keys(home: Home) -> None:
    _first_key(home)
    home.output("keys", "set", "--file", "openai", stdin=OTHER_KEY)


def _check_removed_key(home: Home, complete: bool) -> None:
    _check_keys(home, False)
    assert not complete or "OPENAI_API_KEY" not in (home.data / "keys.json").read_text()


def _first_default(home: Home) -> None:
    home.output("default", "faux/echo")


def _check_default(home: Home, complete: bool) -> None:
    model = home.output("default").strip()
    assert model == "faux/other" if complete else model in ("faux/echo", "faux/other"), model


def _first_config(home: Home) -> None:
    home.output("config", "--providers", "anthropic", "-o", "router.yaml")


def _check_config(home: Home, complete: bool) -> None:
    import yaml

    for name in ("router.yaml", "router.yaml.bak"):
        if (home.path / name).exists():
            models = yaml.safe_load((home.path / name).read_text())["model_list"]
            assert len(models) > 3
    text = (home.path / "router.yaml").read_text()
    assert "groq" in text if complete else True


def _check_ledger(home: Home, complete: bool) -> None:
    _check_ask(home, complete)
    if (home.data / "ledger.jsonl").exists():
        spent = json.loads(home.output("spend", "--json"))
        assert complete <= sum(row["requests"] for row in spent) <= 2


def _check_cache(home: Home, complete: bool) -> None:
    _check_ask(home, complete)
    entries = json.loads(home.output("cache", "stats", "--json"))["entries"]
    assert complete <= entries <= 2
    assert home.run("ask", "-m", "faux/echo", "another").stderr.count("cache") == 0


def _check_export(home: Home, complete: bool) -> None:
    _check_ask(home, False)
    text = (home.path / "talk.md").read_text()
    assert "the first" in text if complete else text == "old\n" or "the first" in text


def _prepare_export(home: Home) -> None:
    _first_question(home)
    (home.path / "talk.md").write_text("old\n")


def _prepare_removal(home: Home) -> None:
    _first_question(home)
    (conversation,) = (home.data / "history").iterdir()
    header = {"n": 3, "timestamp": 1, "api": "faux", "provider": "faux", "model": "echo"}
    partial = json.dumps(header) + '\n[0, "text", "half an ans"]\n'
    conversation.with_suffix(".partial").write_text(partial)
    conversation.rename(conversation.with_name("20260101-000000-00000000.jsonl"))
    conversation.with_suffix(".partial").rename(
        conversation.with_name("20260101-000000-00000000.partial")
    )


def _check_removal(home: Home, complete: bool) -> None:
    left = [path.suffix for path in (home.data / "history").iterdir()]
    assert left == [] if complete else ".partial" not in left or ".jsonl" in left, left


def _check_sync(home: Home, complete: bool) -> None:
    assert home.output("info", "anthropic/claude-sonnet-4-5")
    assert int(home.output("models", "--json").count('"context"')) > 50


def _new_template(home: Home) -> None:
    (home.path / "new.yaml").write_text("prompt: hello\n")


def _check_templates(home: Home, complete: bool) -> None:
    if complete:
        assert home.output("templates", "show", "new") == "prompt: hello\n"


def workloads(sync_url: str) -> list[Workload]:
    """Return all commands that write.

    `pipy local pull` downloads through pip, which is not run here: the weights have tests of their
    own. Only what it writes before and after the download can fail.
    """
    ask = ("ask", "-m", "faux/echo")
    batch = ("batch", "in.jsonl", "-o", "out.jsonl", "-m", "faux/echo", "-j", "1")
    editor = {"EDITOR": "cp new.yaml"}

    def _first_sync(home: Home) -> None:
        home.output("sync", env={"PIPY_MODELS_URL": sync_url})

    return [
        Workload("ask", (*ask, "the second"), _check_ask, _first_question),
        Workload("ask -a", (*ask, "-a", "cat.png", "the second"), _check_image, _image_file),
        Workload("ask -c", (*ask, "-c", "the second"), _check_continued, _first_question),
        Workload("chat", ("chat", "-m", "faux/echo"), _check_chat, _first_question, "one\ntwo\n"),
        Workload("batch", batch, _check_batch, _rows),
        Workload("batch, resumed", batch, _check_resumed_batch, _unsorted_answers),
        Workload("batch, CSV", ("batch", "in.csv", "-o", "out.csv", *batch[-4:]),
                 _check_csv, _csv_rows),
        Workload("keys set", ("keys", "set", "--file", "openai"),
                 _check_keys, _first_key, OTHER_KEY),
        Workload("keys remove", ("keys", "remove", "openai"), _check_removed_key, _two_keys),
        Workload("default", ("default", "faux/other"), _check_default, _first_default),
        Workload("config", ("config", "--providers", "groq", "-o", "router.yaml"),
                 _check_config, _first_config),
        Workload("ledger", (*ask, "the second"), _check_ledger, _first_question, env=LEDGER),
        Workload("cache", (*ask, "the second"), _check_cache, _first_question, env=CACHE),
        Workload("history export", ("history", "export", "-o", "talk.md"),
                 _check_export, _prepare_export),
        Workload("history rm", ("history", "rm", "--yes", "2026"),
                 _check_removal, _prepare_removal),
        Workload("templates edit", ("templates", "edit", "new"), _check_templates,
                 _new_template,
                 env=editor),
        Workload("sync", ("sync", "--force"), _check_sync,
                 _first_sync, env={"PIPY_MODELS_URL": sync_url}),
    ]  # fmt: skip


def small_mirror() -> Mirror:
    """Return a server of a small catalogue, which is quick to write."""
    mirror, whole = Mirror(), feed()
    chosen = {name: whole[name] for name in ("anthropic", "openai", "groq")}
    mirror.body, mirror.headers["etag"] = json.dumps(chosen).encode(), ""
    return mirror


def new_home(path: Path) -> Home:
    """Return a home whose catalogue is compiled, so that no command has to write it."""
    home = Home(path)
    home.data.mkdir(parents=True)
    home.output("models", "--limit", "1")
    return home
