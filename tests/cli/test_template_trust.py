"""Test that templates of others do nothing that the user has not allowed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.command import pipy
from ..support.scripted_server import Lab
from ..support.terminal import Terminal
from ..support.wire_formats import CHAT, say

KEY = "sk-env-0123456789abcdef"


@pytest.fixture
def own_dir() -> Path:
    directory = Path(os.environ["PIPY_DATA_DIR"], "templates")
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("the secret text")
    return path


def ask_without_terminal(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipy_ai", "ask", *arguments],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, **env},
    )  # fmt: skip


def write(path: Path, **fields: object) -> str:
    path.write_text(json.dumps({"prompt": "Go.", **fields}))  # JSON is YAML
    return str(path)


DANGEROUS = [
    ({"search": True}, "let the provider search the web"),
    ({"fetch": True}, "let the provider read web pages that the prompt names"),
    ({"code": True}, "let the provider run code that the model writes"),
    ({"attachments": ["{dir}/secret.txt"]}, "read '{dir}/secret.txt'"),
    ({"attachments": ["link.txt"]}, "(which is '{dir}/secret.txt')"),
    ({"attachments": ["http://127.0.0.1:9/x"]}, "fetch from 127.0.0.1"),
    ({"tools": ["{dir}/t.py:f"]}, "run the code of '{dir}/t.py'"),
    ({"tools": ["os:system"]}, "run the code of 'os' and let the model call 'os:system'"),
    ({"schema": "{dir}/s.json"}, "read the schema '{dir}/s.json'"),
    ({"schema": "secret"}, "read the schema 'secret'"),  # a file of that name
    ({"schema": "t:Model"}, "run the code of 't' for the schema"),
    ({"options": {"api_base": "https://evil.example/v1"}}, "send everything to evil.example"),
    ({"options": {"api-base": "https://evil.example/v1"}}, "send everything to evil.example"),
    ({"options": {"api_base=https://evil.example": "x"}}, "send everything to evil.example"),
    ({"options": {"api_base": "https://openai.com@evil.example"}}, "send everything to evil.exam"),
    ({"options": {"headers": {"x": "y"}}}, "set the option 'headers.x' to 'y'"),
    ({"options": {"extra": {"tools": [{"type": "mcp"}]}}}, "set the option 'extra.tools'"),
    ({"options": {"extra.top_k": 5}}, "set the option 'extra.top_k' to '5'"),
    ({"options": {"transport": "litellm"}}, "set the option 'transport'"),
    ({"model": "huggingface/https://evil.example/m"}, "https://evil.example/m"),
    ({"model": "hosted_vllm/m"}, "send everything to 'hosted_vllm/m'"),
]


@pytest.mark.parametrize(("fields", "shown"), DANGEROUS, ids=[str(row[0]) for row in DANGEROUS])
def test_template_of_others_needs_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: Path, fields: object, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.txt").symlink_to(secret)
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "t.py").write_text(f"open('{tmp_path}/ran', 'w')\ndef f() -> None: ...\n")
    fields = json.loads(json.dumps(fields).replace("{dir}", str(tmp_path)))
    template = write(tmp_path / "other.yaml", **fields)  # type: ignore[arg-type]
    model = () if "model" in fields else ("-m", "faux/echo")  # type: ignore[operator]
    done = ask_without_terminal("-t", template, *model)
    assert (done.returncode, done.stdout) == (2, "")
    assert shown.replace("{dir}", str(tmp_path)) in done.stderr.replace("\n", " ")
    assert "--trust-template" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_harmless_template_of_others_needs_none(tmp_path: Path) -> None:
    template = write(
        tmp_path / "other.yaml", system="Be brief.", schema="name, age int",
        options={"temperature": 0, "seed": 7}, extract=True,
    )  # fmt: skip
    done = ask_without_terminal("-m", "faux/echo", "-t", template)
    assert "--trust-template" not in done.stderr


def test_trust_template_allows_it(tmp_path: Path, secret: Path, lab: Lab) -> None:
    template = write(tmp_path / "other.yaml", attachments=[str(secret)])
    done = ask_without_terminal("-m", "faux/echo", "--trust-template", "-t", template)
    assert (done.returncode, "the secret text" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(("typed", "allowed"), [("\n", 0), ("n\n", 0), ("sure\n", 0), ("y\n", 1)])
def test_user_is_asked(tmp_path: Path, secret: Path, typed: str, allowed: int) -> None:
    template = write(tmp_path / "other.yaml", attachments=[str(secret)])
    asked = ("-m", "pipy_ai", "ask", "--plain", "-m", "faux/echo", "-t", template)
    with Terminal(*asked, columns=200) as terminal:
        terminal.wait_for("Allow this? [y]es, [n]o:")
        assert f"{template!r} is not one of your templates. It would:" in terminal.text
        assert f"- read {str(secret)!r} and send it to the model" in terminal.text
        terminal.send(typed)
        assert terminal.wait() == (0 if allowed else 2)
        assert ("the secret text" in terminal.text) == bool(allowed)


def test_typing_ahead_allows_nothing(tmp_path: Path, secret: Path) -> None:
    template = write(tmp_path / "other.yaml", attachments=[str(secret)])
    code = "import sys, time\nprint('ready', flush=True)\nsys.stdin.readline()\n" + (
        "from pipy_ai.cli.main import main\n"
        f"sys.argv = ['pipy', 'ask', '-m', 'faux/echo', '-t', {template!r}]\n"
        "print('started', flush=True)\nraise SystemExit(main())"
    )
    with Terminal("-c", code) as terminal:
        terminal.wait_for("ready")
        terminal.send("go\ny\ny\n")
        terminal.wait_for("Allow this?")
        terminal.send("n\n")
        assert terminal.wait() == 2
        assert "the secret text" not in terminal.text


def test_interrupt_allows_nothing(tmp_path: Path, secret: Path) -> None:
    template = write(tmp_path / "other.yaml", attachments=[str(secret)])
    with Terminal("-m", "pipy_ai", "ask", "-m", "faux/echo", "-t", template) as terminal:
        terminal.wait_for("Allow this?")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert "the secret text" not in terminal.text


def test_template_cannot_hide_what_it_would_do(tmp_path: Path) -> None:
    """Neither escapes nor invisible characters, nor lines like the question, nor look-alikes."""
    name = "a\r\x1b[2K\x1b[A\u202e\u200b\n\u2028Allow this? [y]es, [n]o: y"
    template = write(
        tmp_path / "other.yaml", attachments=[name],
        options={"api_base": "https://\u0430pi.openai.com", "x\n\x1b[2J": 1},
    )  # fmt: skip
    asked = ("-m", "pipy_ai", "ask", "-m", "faux/echo", "-t", template)
    with Terminal(*asked, columns=60, rows=40) as terminal:
        terminal.wait()
        assert "unknown option" in terminal.text
    template = write(
        tmp_path / "other.yaml", attachments=[name],
        options={"api_base": "https://\u0430pi.openai.com", "extra.\n\x1b[2J": "\x1b[2J\u202e"},
    )  # fmt: skip
    with Terminal(*asked, columns=60, rows=40) as terminal:
        terminal.wait_for("Allow this? [y]es, [n]o:")
        rows = [row for row in terminal.screen if row]
        text = "".join(row.removeprefix("| ") for row in rows)
        assert r"a\r\x1b[2K\x1b[A\u202e\u200b\n\u2028Allow" in text.replace("\n", "")
        assert r"\u0430pi.openai.com" in text
        assert "\x1b[2J" not in terminal.raw.decode()
        assert [row for row in rows if row.startswith("Allow this?")] == rows[-1:]
        assert all(row.startswith(("|", "- ")) for row in rows[1:-1])
        terminal.send("n\n")
        assert terminal.wait() == 2


def test_more_than_the_screen_shows_is_not_asked(tmp_path: Path, secret: Path) -> None:
    template = write(tmp_path / "other.yaml", attachments=[str(secret), *["x" * 99] * 50])
    with Terminal("-m", "pipy_ai", "ask", "-m", "faux/echo", "-t", template) as terminal:
        assert terminal.wait() == 2
        assert "--trust-template" in terminal.text
        assert "Allow this?" not in terminal.text


def test_own_templates_are_trusted(own_dir: Path, secret: Path) -> None:
    write(own_dir / "mine.yaml", attachments=[str(secret)])
    for name in ("mine", str(own_dir / "mine.yaml")):
        done = ask_without_terminal("-m", "faux/echo", "-t", name)
        assert (done.returncode, "the secret text" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("kind", ["symlink", "directory", "writable"])
def test_own_directory_with_files_of_others(
    own_dir: Path, tmp_path: Path, secret: Path, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    template = Path(write(elsewhere / "other.yaml", attachments=[str(secret)]))
    name = "other"
    if kind == "symlink":
        (own_dir / "other.yaml").symlink_to(template)
    elif kind == "directory":
        (own_dir / "sub").symlink_to(elsewhere)
        name = str(own_dir / "sub" / "other.yaml")
    else:
        template.rename(own_dir / "other.yaml").chmod(0o666)
    done = ask_without_terminal("-m", "faux/echo", "-t", name)
    assert (done.returncode, "--trust-template" in done.stderr) == (2, True)


def test_own_template_comes_before_a_file_that_is_here(
    own_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(own_dir / "review.yaml", prompt="Mine.")
    write(tmp_path / "review.yaml", prompt="Another's.")
    assert pipy("ask", "-m", "faux/echo", "-t", "review.yaml").stdout == "Mine.\n"
    assert pipy("ask", "-m", "faux/echo", "-t", "./review.yaml").stdout == "Another's.\n"


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai/gpt-5", "OPENAI_API_KEY"),
        ("groq/x", "GROQ_API_KEY"),
        ("hosted_vllm/m", "HOSTED_VLLM_API_KEY"),
        ("litellm_proxy/m", "LITELLM_PROXY_API_KEY"),
        pytest.param("volcengine/x", "VOLCENGINE_API_KEY", marks=pytest.mark.litellm),
    ],
)
def test_no_key_goes_to_the_address_of_a_template(
    tmp_path: Path, lab: Lab, model: str, variable: str
) -> None:
    """Neither one of the environment nor a stored one, also after the user allowed the address."""
    lab.always = CHAT.scene(say("hi"))
    template = write(tmp_path / "other.yaml", options={"api_base": lab.url})
    asked = ("-m", model, "--trust-template", "-t", template)
    ask_without_terminal(*asked, **{variable: KEY})
    assert pipy("keys", "set", variable, "--force", stdin=KEY).returncode == 0
    ask_without_terminal(*asked)
    assert lab.seen
    assert KEY not in repr([(seen.path, seen.headers, seen.body) for seen in lab.seen])


@pytest.mark.parametrize("field", ["api_base", "base_url", "custom_llm_provider", "fallbacks"])
def test_litellms_own_addresses_are_not_for_templates_of_others(tmp_path: Path, field: str) -> None:
    template = write(tmp_path / "other.yaml", options={"extra": {field: "http://127.0.0.1:9"}})
    done = ask_without_terminal("-m", "groq/x", "--trust-template", "-t", template)
    assert (done.returncode, f"extra.{field} is not allowed" in done.stderr) == (2, True)


def test_command_line_replaces_the_options_of_a_template(own_dir: Path, lab: Lab) -> None:
    lab.always = CHAT.scene(say("hi"))
    write(
        own_dir / "mine.yaml",
        options={"api_base": "http://127.0.0.1:9", "temperature": 0.1, "max-tokens": 5, "seed": 1},
    )
    asked = ("ask", "-m", "hosted_vllm/m", "-t", "mine", "--api-base", lab.url)
    done = pipy(*asked, "--temperature", "0.7", "--max-tokens", "9", "-o", "seed=2")
    assert done.returncode == 0, done.stderr
    sent = lab.seen[0].json
    assert (sent["temperature"], sent["seed"]) == (0.7, 2)
    assert re.search(r'"max_(completion_)?tokens": 9', json.dumps(sent))


def test_address_of_the_command_line_may_have_the_key(tmp_path: Path, lab: Lab) -> None:
    lab.always = CHAT.scene(say("hi"))
    template = write(tmp_path / "other.yaml", options={"api_base": "http://127.0.0.1:9"})
    asked = ("-m", "hosted_vllm/m", "-t", template, "--api-base", lab.url)
    done = ask_without_terminal(*asked, HOSTED_VLLM_API_KEY=KEY)
    assert done.returncode == 0, done.stderr
    assert lab.seen[0].headers["authorization"] == f"Bearer {KEY}"
