"""Test the command line as a process: output streams, exit codes and errors."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipy_ai import AssistantMessage, __version__
from pipy_ai.cli.main import main
from pipy_ai.utils.extras import install_command

from ..support.command import pipy
from ..support.scripted_server import Lab
from ..support.terminal import Terminal
from ..support.wire_formats import CHAT, say


def test_ask_prints_only_the_response() -> None:
    done = pipy("ask", "-m", "faux/echo", "What", "is this?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "What is this?\n", "")


def test_prompt_needs_no_command_but_a_misspelled_command_is_an_error() -> None:
    assert pipy("What is this?", PIPY_MODEL="faux/echo").stdout == "What is this?\n"
    assert pipy("-m", "faux/echo", "models").stdout == "models\n"
    slip = pipy("modles", "--json", PIPY_MODEL="faux/echo")
    assert (slip.returncode, slip.stdout) == (2, "")
    assert "did you mean models?" in slip.stderr


def test_piped_input_precedes_the_prompt() -> None:
    done = pipy("ask", "-m", "faux/echo", "what broke?", stdin="a log\nof lines\n")
    assert done.stdout == "a log\nof lines\n\nwhat broke?\n"
    assert pipy("ask", "-m", "faux/echo", stdin="only this").stdout == "only this\n"
    binary = pipy("ask", "-m", "faux/echo", stdin=b"\xff\xfe\x00")
    assert binary.returncode == 2
    assert "UTF-8" in binary.stderr


def test_local_server(lab: Lab) -> None:
    lab.play(CHAT.scene(say("from here")))
    done = pipy("ask", "-m", "hosted_vllm/m", "--api-base", lab.url, "hi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "from here\n", "")


def test_preview_shows_the_request_and_sends_nothing(lab: Lab) -> None:
    asked = ("preview", "-m", "hosted_vllm/m", "--api-base", lab.url, "--max-tokens", "5", "hi")
    key = "sk-very-secret-0123456789"
    done = pipy(*asked, HOSTED_VLLM_API_KEY=key)
    assert (done.returncode, done.stderr) == (0, "")
    first, *headers = done.stdout.partition("\n\n")[0].splitlines()
    assert first == f"POST {lab.url}/chat/completions"
    assert "authorization: ***" in headers
    body = json.loads(done.stdout.partition("\n\n")[2])
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    data = json.loads(pipy(*asked, "--json", HOSTED_VLLM_API_KEY=key).stdout)
    assert data["body"] == body
    assert key not in done.stdout + json.dumps(data)
    assert lab.seen == []
    assert pipy("preview", "-m", "local/smollm2", "hi").stdout.startswith("On this machine, with:")
    nowhere = pipy("preview", "-m", "sap-ai-core/gpt-4o", "hi", "--max-tokens", "0")
    assert (nowhere.returncode, nowhere.stderr.startswith("pipy: --max-tokens")) == (2, True)


def test_json_is_the_message() -> None:
    done = pipy("ask", "-m", "faux/echo", "--json", "Zürich \u202e")
    message = AssistantMessage.model_validate_json(done.stdout)
    assert message.text == "Zürich \u202e"
    assert done.stdout.isascii()


def test_events_are_lines() -> None:
    done = pipy("ask", "-m", "faux/echo", "--events", "Hello")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["type"] for line in lines] == [
        "start", "text_start", "text_delta", "text_delta", "text_end", "done",
    ]  # fmt: skip
    assert lines[-1]["message"]["stop_reason"] == "stop"


def test_usage_goes_to_stderr() -> None:
    done = pipy("ask", "-m", "faux/echo", "--usage", "Hello")
    assert done.stdout == "Hello\n"
    assert re.fullmatch(r"2 in / 2 out  cost unknown  \d\.\d s\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ask"], "no prompt"),
        (["ask", "-m", "claude-sonnet-9-9", "Hi"], "did you mean anthropic/claude-sonnet"),
        (
            ["ask", "-m", "faux/echo", "--max-tokens", "0", "Hi"],
            "--max-tokens must be greater than 0, not 0\n",
        ),
        (["ask", "--max-tokens", "1.5", "Hi"], "--max-tokens: invalid number '1.5'"),
        (["ask", "--temperature", "hot", "Hi"], "--temperature: invalid number 'hot'"),
        (
            ["ask", "-m", "faux/echo", "-o", "seed=x", "Hi"],
            "-o seed must be a valid integer, not 'x'\n",
        ),
        (["config", "--providers", "nosuch"], "'nosuch'; `pipy providers` lists all\n"),
        (
            ["ask", "-m", "faux/echo", "-a", "/no/such.png", "Hi"],
            "pipy: /no/such.png: No such file",
        ),
        (["ask", "-m", "faux/echo", "-a", sys.executable, "Hi"], "cannot be attached"),
        (
            ["ask", "-m", "faux/echo", "-a", "http://127.0.0.1:9/x", "Hi"],
            "cannot be fetched: Connection refused",
        ),
        (["ask", "--thinking", "hard", "Hi"], "--thinking"),
        (["ask", "-m", "faux/echo", "--schema", "", "Hi"], "the schema is empty"),
        (["history", "list", "--limt", "3"], "pipy history list does not accept '--limt'; did you"),
        (["local", "pull", "x"], "does not accept 'x'; pipy local pull --help"),
        (["Hi", "--api-key=sk-1"], "pipy: pipy ask does not accept '--api-key';"),
        (["aks", "Hi"], "aks"),
        ([], "COMMAND"),
    ],
)
def test_wrong_use_exits_2_with_a_reason(arguments: list[str], expected: str) -> None:
    done = pipy(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("models --min-context lots", "invalid number 'lots': use, for example, 12000, 12k or"),
        ("models --min-context -5", "invalid number '-5'"),
        ("models --columns model,prize", "unknown column 'prize'; choose from model"),
        ("spend --since yesterday", "invalid date 'yesterday': use YYYY, YYYY-MM or YYYY-MM-DD"),
        ("local discover --port 99999", "--port 99999: use a number from 1 to 65535"),
        ("ask -t nosuch hi", "no template 'nosuch'; pipy templates lists the names"),
        ("default nosuch-model-x", "in the catalogue of 2026-05-19; list the names with pipy"),
    ],
)
def test_errors_name_the_value_and_what_to_do(line: str, expected: str) -> None:
    done = pipy(*line.split())
    assert done.returncode == 2
    assert expected in " ".join(done.stderr.split())


def test_failed_request_exits_1_with_a_reason() -> None:
    done = pipy("ask", "-m", "anthropic/claude-sonnet-4-5", "Hi")
    assert done.returncode == 1
    assert "ANTHROPIC_API_KEY" in done.stderr
    assert done.stdout == ""
    as_json = pipy("ask", "-m", "anthropic/claude-sonnet-4-5", "--json", "Hi")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["error"]["kind"] == "missing_key"


def test_default_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipy_ai import default_model

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LookupError, match=r"ANTHROPIC_API_KEY.*pip install .*pipy local pull"):
        default_model()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert default_model() == "local/smollm2"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert default_model() == "anthropic/claude-sonnet-4-5"
    monkeypatch.setenv("PIPY_MODEL", "faux/echo")
    assert default_model() == "faux/echo"


def test_no_model_available_names_two_solutions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["ask", "Hi"]) == 2
    output = capsys.readouterr().err
    assert "ANTHROPIC_API_KEY" in output
    assert install_command("local") in output


def test_embedded_model_is_the_default(weights: Path) -> None:
    done = pipy("ask", "What is 2+2?")
    assert done.returncode == 0
    assert done.stdout.strip()
    assert done.stderr.count("\n") == 1
    assert "demo model" in done.stderr


def test_thinking_goes_to_stderr(weights: Path) -> None:
    done = pipy("ask", "--thinking", "low", "--events", "What is the capital of France?")
    thought = [json.loads(x) for x in done.stdout.splitlines() if '"thinking_end"' in x]
    assert thought
    plain = pipy("ask", "--thinking", "low", "What is the capital of France?")
    assert thought[0]["content"] in plain.stderr
    assert thought[0]["content"] not in plain.stdout
    assert "\x1b" not in plain.stderr


def test_model_output_cannot_send_escape_sequences() -> None:
    evil = "\x1b]52;c;aGk=\x07 red\x1b[31m \x9b2J \u202egnp.exe ok\ttab\n"
    with Terminal("-m", "pipy_ai", "ask", "--plain", "-m", "faux/echo", evil) as terminal:
        assert terminal.wait() == 0
        raw = terminal.raw.decode()
    assert "ok" in raw
    assert "\x1b" not in raw.partition("ok")[0]
    assert not set(raw) & set("\x07\x9b\u202e")


def test_stderr_text_wraps_between_words() -> None:
    words = ["ask", "-m", "claude", "hi"]  # which may mean several
    with Terminal("-m", "pipy_ai", *words, columns=60) as terminal:
        assert terminal.wait() == 2
        assert len(terminal.text.splitlines()) > 1
        said = " ".join(terminal.text.split())
    assert pipy(*words).stderr == f"{said}\n"


def test_help_is_not_a_prompt() -> None:
    assert pipy("help").stdout == pipy("--help").stdout
    assert pipy("help", "history", "rm").stdout == pipy("history", "rm", "--help").stdout
    assert pipy("ask", "-m", "faux/echo", "help").stdout == "help\n"


def test_help_with_a_narrow_encoding() -> None:
    done = pipy("models", "--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "reasoning, tool_call, ~" in done.stdout


def test_symbols_that_the_encoding_lacks_become_similar_ones() -> None:
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    text = "| a |\n| --- |\n| “b” → c… |\n\n日本"
    with Terminal("-m", "pipy_ai", "ask", "-m", "faux/echo", text, env=env) as terminal:
        assert terminal.wait() == 0
        assert terminal.screen[:5] == ["a", "-" * 8, '"b" > c~', "", "??"]
    with Terminal("-m", "pipy_ai", "doctor", env=env) as terminal:
        terminal.wait()
        assert "> set PYTHONUTF8=1" in terminal.text
    done = pipy("ask", "-m", "faux/echo", "-a", "→日.txt", "hi", **env)
    assert ">\\u65e5.txt: No such file" in done.stderr


def test_closed_pipe_is_no_error() -> None:
    shell = f"{sys.executable} -m pipy_ai ask -m faux/echo '{'word ' * 20_000}' | head -c 5"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell],
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout == "word "
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("redirect", "code", "expected"),
    [
        (">/dev/full", 1, "No space left"),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("-m claude 2>/dev/full", 2, ""),
        ("--max-tokens many 2>/dev/full", 2, ""),
        (">/dev/full 2>&1", 1, ""),
        ("--help >/dev/full", 1, "No space left"),
    ],
)
def test_unwritable_outputs_exit_without_a_traceback(
    redirect: str, code: int, expected: str, unbuffered: str
) -> None:
    shell = f"{sys.executable} -m pipy_ai ask -m faux/echo hi {redirect}"
    done = subprocess.run(
        ["bash", "-c", shell], env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert expected in done.stderr


def test_ctrl_c_exits_cleanly(weights: Path) -> None:
    # A test runner in the background of a shell hands down an ignored SIGINT; a terminal does not.
    code = (
        "import signal, sys\nfrom pipy_ai.cli.main import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(main(['ask', '--max-tokens', '3000', 'Count to a million.']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.read(1)  # it is answering
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert time.monotonic() - began < 5


def test_ctrl_c_before_imports(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text("import os\nos.kill(os.getpid(), 2)\n")
    code = (
        "import signal, sys\nfrom pipy_ai.__main__ import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\nsys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize("stop", [False, True])
def test_thinking_is_dim_and_the_style_is_reset(stop: bool) -> None:
    then = "faux.stall()" if stop else "'yes'"
    code = (
        "import signal, sys\nfrom pipy_ai import faux\nfrom pipy_ai.cli.main import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"with faux.script(faux.reply(faux.thinking('hm'), {then})):\n"
        "    sys.exit(main(['ask', '-m', 'faux/m', 'q']))\n"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=slave, stderr=slave, stdin=subprocess.DEVNULL
    )
    os.close(slave)
    output, stopped = b"", False
    try:
        while chunk := os.read(master, 1000):
            output += chunk
            if stop and b"hm" in output:
                process.send_signal(signal.SIGINT)
                stop = False
                stopped = True
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(master)
    assert process.wait(30) == (130 if stopped else 0)
    assert b"\r\x1b[2mhm\x1b[0m\r\n" in output  # in place of the status line
    assert stopped or b"\r\nyes" in output
    assert output.strip().endswith(b"\x1b[0m")  # of the thought, or of the line of usage


def test_version() -> None:
    assert pipy("--version").stdout == f"pipy {__version__}\n"


def test_preview_with_tools_and_warnings(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("def add(a: int, b: int) -> int:\n    return a + b\n")
    done = pipy(
        "preview", "-m", "anthropic/claude-sonnet-4-5", "--tool", f"{tmp_path / 't.py'}:add",
        "-o", "seed=7", "--json", "q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["body"]["tools"][0]["name"] == "add"
    assert "seed" in done.stderr
