"""Test `pipy history`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipy_ai import AssistantMessage, Context, tool_result, user
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.files import list_conversation_ids
from pipy_ai.cli.main import main
from pipy_ai.types import Cost, TextContent, ThinkingContent, ToolCall, Usage

from ..support.command import pipy
from ..support.terminal import Terminal

DAY = 86_400_000
NOON = 1_790_000_000_000  # 21 September 2026


class Run:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, line: str, code: int = 0) -> str:
        assert main(["history", *line.split()]) == code
        done = self._capsys.readouterr()
        self.err = done.err
        return done.out


@pytest.fixture
def history(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


def answer(
    text: str, day: int, cost: float | None, model: str = "openai/gpt-5"
) -> AssistantMessage:
    provider, _, name = model.partition("/")
    usage = Usage(input=1000, cache_read=200, cache_write=3, output=45, total_tokens=1248)
    usage.cost = Cost(total=cost, source="unknown" if cost is None else "catalog")
    content = [TextContent(text=text)]
    return AssistantMessage(
        content=content, provider=provider, model=name, usage=usage, stop_reason="stop",
        timestamp=NOON + day * DAY,
    )  # fmt: skip


def keep(identity: str, used: float, *messages: object, model: str = "openai/gpt-5") -> None:
    with Conversation(identity) as conversation:
        conversation.set(model=model)
        for message in messages:
            conversation.add(message)  # type: ignore[arg-type]
    os.utime(conversation.path, (used, used))


@pytest.fixture
def three(_alone: None) -> None:
    """Three conversations; the oldest was used last."""
    ask = user("How far\nis the \x1b[2Jmoon? \u202e" + "x" * 200)
    ask.timestamp = NOON
    keep("20260101-120000-0aa", 3e9, ask, answer("Far.", 0, 0.01), user("Farther?"),
         answer("384,400 km", 0, 0.02))  # fmt: skip
    keep("20260201-120000-0bb", 1e9, user("Hi"), answer("Zürich", 1, None, "faux/echo"))
    keep("20260301-120000-0cc", 2e9, user("Bye"), answer("Bye", 1, 0.5, "anthropic/claude"))


def test_list_is_newest_first_with_tokens_and_cost(three: None, history: Run) -> None:
    header, *rows = history("list").splitlines()
    assert header.split() == ["id", "used", "model", "in", "out", "cost", "title"]
    assert [row[:15] for row in rows] == ["20260101-120000", "20260301-120000", "20260201-120000"]
    assert rows[0].split()[3:7] == ["openai/gpt-5", "2,406", "90", "$0.03"]
    assert "How far is the \\x1b[2Jmoon? <U+202E>xxx" in rows[0]
    assert len(rows[0]) < 140
    assert "unknown" in rows[2]
    assert [row.split() for row in history("list --limit 1").splitlines()[1:]] == [rows[0].split()]


def test_list_fits_the_terminal(three: None) -> None:
    with Terminal("-m", "pipy_ai", "history", "list", columns=80) as narrow:
        assert narrow.wait() == 0
        header, first, second, third = narrow.text.splitlines()[:4]
    assert header.split() == ["id", "model", "in", "out", "cost", "title"]
    assert first.startswith("20260101-120000  openai/gpt-5")
    assert "How far" in first
    assert (second[-3:], third[-2:]) == ("Bye", "Hi")
    with Terminal("-m", "pipy_ai", "history", "list", columns=140) as wide:
        assert wide.wait() == 0
        assert wide.text.splitlines()[0].split()[1] == "used"


def test_narrow_list_and_search_keep_the_text(three: None) -> None:
    for action, text in (("list", "How far"), ("search far", "How far")):
        with Terminal("-m", "pipy_ai", "history", *action.split(), columns=40) as terminal:
            assert terminal.wait() == 0
            assert text in terminal.text.splitlines()[1]


def test_long_model_name_leaves_room_for_the_title() -> None:
    model = f"hosted_vllm/{'a-long-name-' * 5}"
    for identity in ("20260101-120000-0aa", "20260101-120000-0ab"):
        keep(identity, 1e9, user("Where do all the whales go in winter?"), model=model)
    with Terminal("-m", "pipy_ai", "history", "list", columns=80) as terminal:
        assert terminal.wait() == 0
        rows = terminal.text.splitlines()[1:3]
    assert {row[:21] for row in rows} == {"20260101-120000-0aa  ", "20260101-120000-0ab  "}
    assert all("hosted_vllm/a" in row and "Where do all" in row for row in rows)


def test_wide_characters_keep_the_columns() -> None:
    keep("20260101-120000-0aa", 1e9, user("東京タワーの高さ " * 9), model="faux/鳥")
    keep("20260102-120000-0bb", 2e9, user("Hi"), model="faux/bird")
    with Terminal("-m", "pipy_ai", "history", "list", columns=80) as terminal:
        assert terminal.wait() == 0
        header, hi, tower = terminal.screen[:3]
    assert header.index("title") == hi.index("Hi")
    assert hi.index("$0.00") == header.index(" cost")
    assert tower.endswith("…")
    assert terminal.screen[3] == ""


def test_list_as_json(three: None, history: Run) -> None:
    first, *others = json.loads(history("list --json"))
    assert first["id"] == "20260101-120000-0aa"
    assert first["questions"] == 2
    assert first["title"].startswith("How far is the \x1b[2Jmoon? \u202exxx")
    assert first["sum"] == {
        "answers": 2, "input": 2406, "cached": 400, "output": 90, "cost": 0.03,
        "known": 2, "unknown": 0,
    }  # fmt: skip
    assert [other["sum"]["unknown"] for other in others] == [0, 1]


def test_totals_count_unknown_costs(three: None, history: Run) -> None:
    rows = [row.split() for row in history("list --by model").splitlines()]
    assert rows == [
        ["model", "requests", "in", "cached", "out", "cost"],
        ["anthropic/claude", "1", "1,203", "200", "45", "$0.50"],
        ["openai/gpt-5", "2", "2,406", "400", "90", "$0.03"],
        ["faux/echo", "1", "1,203", "200", "45", "unknown"],
        ["total", "4", "4,812", "800", "180", "$0.53", "+", "1", "unknown"],
    ]
    days = json.loads(history("list --by day --json"))
    assert [(row["day"][:8], row["answers"]) for row in days["rows"]] == [
        ("2026-09-", 2), ("2026-09-", 2),
    ]  # fmt: skip
    assert days["rows"][0]["day"] > days["rows"][1]["day"]
    assert days["rows"][1]["unknown"] == 0
    assert days["total"]["unknown"] == 1


def test_zero_cost_is_known(history: Run) -> None:
    keep("20260101-120000-0aa", 1e9, answer("free", 0, 0.0), answer("?", 0, None))
    assert "$0.00 + 1 unknown" in history("list")


def test_undone_messages_count_towards_the_cost(history: Run) -> None:
    with Conversation.new(model="m/m") as conversation:
        conversation.add(user("one"))
        conversation.add(answer("1", 0, 0.25))
        conversation.undo()
        conversation.add(user("two"))
    (entry,) = json.loads(history("list --json"))
    assert (entry["title"], entry["questions"], entry["sum"]["cost"]) == ("two", 1, 0.25)
    assert history("search one", code=1) == ""
    assert "'one' was not found" in history.err


MARKDOWN = "Use **pandas**.\n\n- one\n\n```py\nx = 1\n"  # its code block is not closed


def keep_markdown(*, answers: int = 1) -> None:
    with Conversation.new(model="m/m", system="# Be *kind*") as conversation:
        conversation.add(user("Why **this**?\x1b[2J\n# a comment"))
        for _ in range(answers):
            content = [TextContent(text=MARKDOWN)]
            conversation.add(AssistantMessage(content=content, provider="m", model="m"))


def test_show_renders_answers_on_a_terminal() -> None:
    keep_markdown(answers=2)
    with Terminal("-m", "pipy_ai", "history", "show") as terminal:
        assert terminal.wait() == 0
        for text in ("You", "m/m", "pandas"):
            assert terminal.style(text).bold
        shown = terminal.text.partition("\n")[2]
    assert shown == (
        "System\n\n# Be *kind*\n\nYou\n\nWhy **this**?\\x1b[2J\n# a comment"  # no Markdown
        + 2 * "\n\nm/m\n\nUse pandas.\n\n- one\n\nx = 1"
    )


def test_show_prints_markdown_if_it_must_not_be_rendered() -> None:
    keep_markdown()
    for arguments, env in (["--plain"], {}), ([], {"TERM": "dumb"}), ([], {"NO_COLOR": "1"}):
        with Terminal("-m", "pipy_ai", "history", "show", *arguments, env=env) as terminal:
            assert terminal.wait() == 0
            assert "## m/m\n\nUse **pandas**.\n" in terminal.text
    assert "Use **pandas**" in pipy("history", "show").stdout


def test_show_pages_what_is_longer_than_the_screen() -> None:
    keep_markdown()
    env = {"PAGER": "cat -n"}
    with Terminal("-m", "pipy_ai", "history", "show", rows=10, env=env) as terminal:
        assert terminal.wait() == 0
        assert "     1  System" in terminal.text
    with Terminal("-m", "pipy_ai", "history", "show", "--no-pager", rows=10, env=env) as terminal:
        assert terminal.wait() == 0
        assert "\nSystem\n" in terminal.text


def test_show(history: Run) -> None:
    with Conversation.new(model="m/m", system="Be kind.") as conversation:
        conversation.add(user("What is it? \x1b[31m"))
        call = ToolCall(id="c", name="look", arguments={"at": "ü"})
        thought = ThinkingContent(thinking="Hm.\nHm.")
        conversation.add(AssistantMessage(content=[thought, call], provider="m", model="m"))
        conversation.add(tool_result(call, "```it```"))
        conversation.add(answer("It.", 0, None))
    shown = history("show")
    assert shown == (
        "## System\n\nBe kind.\n\n## You\n\nWhat is it? \\x1b[31m\n\n"
        '## m/m\n\n> Hm.\n> Hm.\n\n`look({"at": "ü"})`\n\n'
        "## Result of look\n\n````\n```it```\n````\n\n## openai/gpt-5\n\nIt.\n"
    )
    assert history(f"show {conversation.id[:15]}") == shown
    data = json.loads(history("show --json"))
    assert Context.model_validate(data).messages == conversation.messages
    assert data["model"] == "m/m"


def test_search(three: None, history: Run) -> None:
    assert history("search ZÜR").splitlines()[1].split() == [
        "20260201-120000-0bb", *history("search Zür").splitlines()[1].split()[1:],
    ]  # fmt: skip
    hits = json.loads(history("search bye --json"))
    assert [(hit["id"][-3:], hit["who"], hit["line"]) for hit in hits] == [
        ("0cc", "you", "Bye"), ("0cc", "claude", "Bye"),
    ]  # fmt: skip
    assert "\x1b" not in history("search moon")


def test_remove_needs_confirmation(three: None, history: Run) -> None:
    history("remove 20260101", code=2)
    assert "--yes" in history.err
    assert len(list_conversation_ids()) == 3
    history("rm 20260101 20260201-120000-0bb --yes")
    assert list_conversation_ids() == ["20260301-120000-0cc"]
    history("rm nobody --yes", code=2)
    with Conversation.open() as busy:
        history(f"remove {busy.id} --yes", code=2)
        assert "another pipy process has" in history.err
    assert len(list_conversation_ids()) == 1


def test_export(three: None, history: Run, tmp_path: Path) -> None:
    shown = history("show 20260301")
    assert history("export 20260301") == shown
    for name, form in (("a.md", "md"), ("a.JSON", "json"), ("a.jsonl", "jsonl"), ("a", "md")):
        path = tmp_path / name
        path.write_text("before")
        assert history(f"export 20260301 -o {path}") == ""
        assert path.read_text() == history(f"export 20260301 --format {form}")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["role"] for line in lines] == ["user", "assistant"]
    history(f"export -o {tmp_path}/no/where.md", code=1)
    assert "no/where.md" in history.err
    assert len([*tmp_path.glob("a*")]) == 4  # nothing beside them


def test_unknown_files_are_skipped(three: None, history: Run) -> None:
    folder = Path(Conversation("x").path).parent
    (folder / "20250101-000000-0.jsonl").write_bytes(
        b'{"kind":"message","n":1,"message":{"role":5,"timestamp":"x","usage":[],"content":7}}\n'
        b'{"kind":"message","n":2,"message":{"role":"assistant","usage":{"input":"y"},"content":[9],'
        b'"timestamp":1e300}}\n{"kind":"later"}\n\xff\n'
    )
    (folder / "notes.txt").write_text("mine")
    (folder / "empty.jsonl").touch()
    (folder / "20250102-000000-0.jsonl").mkdir()
    assert len(history("list").splitlines()) == 6
    assert "history/20250101-000000-0.jsonl: line 4 is damaged and was skipped" in history.err
    history("list --by day")
    history("list --by model")
    history("search zzz", code=1)
    assert history("show 20250101") == "\n"
    assert "line 1 is damaged" in history.err


def test_message_fields_of_wrong_types_do_not_stop_a_command(three: None, history: Run) -> None:
    folder = Path(Conversation("x").path).parent
    (folder / "20250101-000000-0.jsonl").write_bytes(
        b'{"kind":"message","n":1,"message":{"role":["user"],"content":"quagga"}}\n'
        b'{"kind":"message","n":2,"message":{"role":"assistant","model":5,"content":"quagga"}}\n'
    )
    assert len(history("search quagga").splitlines()) == 3
    history("list --by model")
    history("show 20250101")
    assert "line 1 is damaged" in history.err


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that cannot be read")
def test_unreadable_file_does_not_hide_the_others(three: None, history: Run) -> None:
    path = Path(Conversation("20250101-000000-0").path)
    path.symlink_to("/proc/self/mem")
    assert len(history("list").splitlines()) == 5
    assert f"pipy: {path}: Input/output error" in history.err or "rror" in history.err
    assert "Zürich" in history("search zürich")


def test_empty_history(history: Run) -> None:
    assert history("list --json") == "[]\n"
    assert history("list") == ""
    for line in ("show", "export", "rm x --yes"):
        history(line, code=2)
        assert "no saved conversations yet" in history.err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_output_encoding(three: None, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipy_ai", "history", "show", "20260201"],
        capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "LANG": "C"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split()[-1] == "Zürich".encode(encoding, "replace")


def test_list_loads_nothing_heavy(three: None) -> None:
    code = (
        "import sys\nfrom pipy_ai.cli.main import main\nmain(['history', 'list'])\n"
        "assert not {'pydantic', 'asyncio', 'httpx', 'rich', 'prompt_toolkit'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
