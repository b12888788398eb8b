"""Test `pipy ask`: model names, attachments, JSON, options and continued conversations."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipy_ai import assistant
from pipy_ai.cli.args import schema
from pipy_ai.cli.args.attachments import read_attachments
from pipy_ai.cli.args.model import resolve_model
from pipy_ai.cli.display.usage import format_usage
from pipy_ai.media import wav_header
from pipy_ai.types import Cost, TextContent, Usage

from ..support.command import pipy
from ..support.scripted_server import STALL, Lab, Status
from ..support.terminal import Terminal
from ..support.wire_formats import CHAT, Counts, say, think

WAV = wav_header(8, 16_000) + bytes(8)
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(30)
PDF = b"%PDF-1.7\n" + bytes(20)


def local(lab: Lab) -> tuple[str, ...]:
    return ("-m", "hosted_vllm/m", "--api-base", lab.url)


def test_usage_line() -> None:
    message = assistant("x")
    message.usage = Usage(
        input=1_003, cache_read=200, output=345, total_tokens=1_548, cost=Cost(total=0.00921)
    )
    message.duration_ms, message.ttft_ms = 2_104.0, 0.4
    assert format_usage(message) == "1,203 in (200 cached) / 345 out  $0.0092  2.1 s  164 tok/s"
    message.usage.estimated, message.usage.cost.total = True, None
    assert format_usage(message).startswith("about 1,203 in (200 cached) / 345 out  cost unknown")
    message.usage.cost.total = 0.0000123
    assert "$0.0000123" in format_usage(message)
    message.ttft_ms = 2_100.0  # everything arrived at once, so no speed is known
    assert format_usage(message).endswith("2.1 s")
    message.ttft_ms, message.usage.reasoning = 1_104.0, 245  # thought before the first token
    assert format_usage(message).endswith("100 tok/s")
    message.usage.cost.total = 0.01
    assert format_usage(message, message).startswith("about 2,406 in (400 cached) / 690 out  $0.02")


def test_cost_is_shown_on_a_terminal_but_not_in_a_pipe(lab: Lab) -> None:
    lab.always = CHAT.scene(say("**Yes.**"), counts=Counts(input=1_003, cached=200, output=345))
    piped = pipy("ask", *local(lab), "hi")
    assert (piped.stdout, piped.stderr) == ("**Yes.**\n", "")
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "hi") as terminal:
        assert terminal.wait() == 0
        yes, usage = terminal.text.splitlines()
        assert yes == "Yes."
        assert re.fullmatch(r"1,203 in \(200 cached\) / 345 out  cost unknown  \d\.\d s", usage)
        assert terminal.style("Yes.").bold
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with Terminal("-m", "pipy_ai", "ask", *local(lab), "hi", env=plain) as terminal:
            assert terminal.wait() == 0
            assert terminal.screen[0] == "**Yes.**"
    with Terminal("-m", "pipy_ai", "ask", "--plain", *local(lab), "hi") as terminal:
        assert terminal.wait() == 0
        assert terminal.screen[0] == "**Yes.**"


def test_thinking_text_and_ctrl_c_on_a_terminal(lab: Lab) -> None:
    lab.play(CHAT.scene(think("hm, well"), say("It *is* so"), STALL, stop=None))
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "hi") as terminal:
        terminal.wait_for("It is so")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert terminal.text.startswith("hm, well\nIt is so^C\n")
    assert lab.seen[0].left.wait(5)
    kept = pipy("ask", "-c", *local(lab), "and?")
    assert kept.returncode == 0
    said = [message["content"] for message in lab.seen[1].json["messages"]]
    assert said == ["hi", "It *is* so", "and?"]


@pytest.mark.usefixtures("july")
@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("sonnet", r"anthropic/claude-sonnet-\d(-\d)?"),
        ("gpt 5 mini", "openai/gpt-5-mini"),
        ("Sonnet 4.5", "anthropic/claude-sonnet-4-5"),
        ("gemini flash", r"google/gemini-(\d\.\d-flash|flash-latest)"),
        ("gpt-5", "gpt-5"),  # which is a name
        ("acme/sonnet", "acme/sonnet"),
    ],
)
def test_partial_model_names(typed: str, means: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = resolve_model(typed)
    assert re.fullmatch(means, found)
    output = capsys.readouterr().err
    assert output == ("" if found == typed else f"pipy: {typed}: using {found}\n")


@pytest.mark.usefixtures("july")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("claude", "may mean anthropic/claude-"),
        ("mini", "use a longer part of the name"),
        ("sonet", r"did you mean anthropic/claude-sonnet-\d"),
        ("xyzzy", "no model 'xyzzy'"),
    ],
)
def test_ambiguous_model_name_is_an_error(typed: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        resolve_model(typed)


def test_command_names_the_resolved_model_and_sends_nothing_if_ambiguous() -> None:
    done = pipy("ask", "-m", "sonnet", "hi")
    assert done.returncode == 1
    assert done.stderr.startswith("pipy: sonnet: using anthropic/claude-sonnet-")
    assert "ANTHROPIC_API_KEY" in done.stderr
    doubt = pipy("preview", "-m", "claude", "hi")
    assert (doubt.returncode, doubt.stdout) == (2, "")


def test_fallback_model_answers_when_the_first_fails(lab: Lab) -> None:
    lab.play(Status(503, {"error": {"message": "overloaded"}}))
    asked = (*local(lab), "-o", "max_retries=0", "--fallback", "faux/echo", "hi")
    done = pipy("ask", *asked)
    assert (done.returncode, done.stdout) == (0, "hi\n")
    assert "hosted_vllm/m failed: " in done.stderr
    assert done.stderr.endswith("pipy: faux/echo answered\n")


def test_attachments_of_all_kinds(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("Buy milk.")
    (tmp_path / "p.png").write_bytes(PIXEL)
    files = ("-a", str(tmp_path / "notes.md"), "-a", str(tmp_path / "p.png"), "-a", "-")
    done = pipy("ask", *local(lab), *files, "what?", stdin=PDF)
    assert done.returncode == 0, done.stderr
    parts = lab.seen[0].json["messages"][0]["content"]
    text, notes, picture, paper = parts
    assert text["text"] == "what?"
    assert "Buy milk." in notes["text"]
    assert "notes.md" in notes["text"]
    assert picture["image_url"]["url"].endswith(base64.b64encode(PIXEL).decode())
    assert base64.b64encode(PDF).decode() in json.dumps(paper)


def test_attachment_without_a_prompt(lab: Lab) -> None:
    assert pipy("ask", *local(lab), "-a", "-", stdin="milk\n").returncode == 0
    assert "milk" in json.dumps(lab.seen[0].json["messages"])


def test_text_url_is_downloaded_and_image_url_is_passed_on(lab: Lab) -> None:
    here = lab.url.removesuffix("/v1")
    lab.play(Status(200, "Grüße"))
    web = pipy("ask", "-m", "faux/echo", "--json", "-a", f"{here}/readme", "-s", "x", "q")
    assert web.returncode == 0, web.stderr
    gone = pipy("ask", "-m", "faux/echo", "-a", f"{here}/none", "q")
    assert gone.returncode == 0  # the lab answers anything
    lab.play(Status(404, "no"))
    gone = pipy("ask", "-m", "faux/echo", "-a", f"{here}/none", "q")
    assert (gone.returncode, "404" in gone.stderr) == (2, True)
    shown = pipy("preview", *local(lab), "-a", "http://x.example/cat.png", "--json", "q")
    assert "http://x.example/cat.png" in json.dumps(json.loads(shown.stdout)["body"])
    nobody = pipy("ask", "-m", "faux/echo", "-a", "http://127.0.0.1:9/x", "q")
    assert (nobody.returncode, "cannot be fetched" in nobody.stderr) == (2, True)


@pytest.mark.usefixtures("july")
def test_image_for_a_model_without_vision_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(PIXEL)
    blind = pipy("ask", "-m", "deepseek/deepseek-chat", "-a", str(tmp_path / "p.png"), "what?")
    assert (blind.returncode, blind.stdout) == (2, "")
    assert "deepseek/deepseek-chat does not accept images; to list" in blind.stderr
    assert "pipy models --modality image" in blind.stderr


@pytest.mark.parametrize(
    ("name", "data", "model", "expected"),
    [
        ("p.png", PIXEL, "local/smollm2", "local/smollm2 does not accept images"),
        ("p.png", b"\0\0\0\x1cftypheic" + bytes(9), "openai/gpt-5",
         "openai/gpt-5 does not read HEIC images, only GIF, JPEG, PNG, WEBP: convert it"),
        ("p.gif", b"GIF89a" + bytes(20), "google/gemini-2.5-flash", "does not read GIF images"),
        ("p.jpg", b"RIFF\xff\0\0\0WEBPVP8 ", "openai/gpt-5", "p.jpg is a truncated image"),
        ("p.jpg", b"", "openai/gpt-5", "is empty"),
        ("p.jpg", b"\0\1\2", "openai/gpt-5", "p.jpg cannot be attached"),
        ("a.wav", WAV, "openai/gpt-5", "openai/gpt-5 does not accept audio; to list models that"),
        ("a.wav", WAV[:46], "openai/gpt-audio-1.5", "a.wav is truncated (WAV)"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("july")
def test_images_that_cannot_be_read_are_errors_before_anything_is_sent(
    name: str, data: bytes, model: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    done = pipy("ask", "-m", model, "-a", str(tmp_path / name), "what?")
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert "no conversation" in pipy("history", "list").stderr or not pipy("history", "list").stdout


def test_question_about_a_wav_file(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(WAV)
    lab.play(CHAT.scene(say("It says hello.")))
    done = pipy("ask", *local(lab), "-a", str(tmp_path / "speech.wav"), "What does it say?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "It says hello.\n", "")
    file = {"data": base64.b64encode(WAV).decode(), "format": "wav"}
    assert lab.seen[0].json["messages"][-1]["content"][1] == {
        "type": "input_audio", "input_audio": file
    }  # fmt: skip
    shown = pipy("history", "show").stdout
    assert "[audio: audio/wav, 52 bytes]" in shown


def test_concise_schema(lab: Lab) -> None:
    lab.play(CHAT.scene(say('{"name": "Bo", "age": 3, "tags": ["a"]}')))
    asked = ("--schema", "name, age int: in years, tags list[str]?", "a dog")
    done = pipy("ask", *local(lab), *asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '{"name": "Bo", "age": 3, "tags": ["a"]}\n'
    assert "in years" in lab.seen[0].body.decode()
    lab.always = CHAT.scene(say('{"name": 3}'))
    wrong = pipy("ask", *local(lab), *asked)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "does not match its schema" in wrong.stderr
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "--schema", "name int", "q") as terminal:
        assert terminal.wait() == 0
        assert terminal.text.startswith('{\n  "name": 3\n}\n')


def test_schema_from_a_file_a_class_and_as_a_list(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "dog.json").write_text('{"type": "object", "properties": {"a": {}}}')
    (tmp_path / "kinds.py").write_text(
        "from pydantic import BaseModel\nclass Dog(BaseModel):\n    age: int\n"
    )
    lab.always = CHAT.scene(say('{"age": 3}'))
    for given in (str(tmp_path / "dog.json"), f"{tmp_path}/kinds.py:Dog", '{"type": "object"}'):
        done = pipy("ask", *local(lab), "--schema", given, "q")
        assert (done.returncode, done.stdout) == (0, '{"age": 3}\n'), done.stderr
    lab.always = CHAT.scene(say('{"value": [{"age": 3}, {"age": 4}]}'))
    for given in ("age int", f"{tmp_path}/kinds.py:Dog"):
        done = pipy("ask", *local(lab), "--schema-multi", given, "q")
        assert (done.returncode, done.stdout) == (0, '[{"age": 3}, {"age": 4}]\n'), done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("name text", "unknown type 'text'"),
        ("a, a", "twice"),
        ("{no json", "not valid JSON"),
        ("no_such_module:Dog", "no module"),
        ("json:loads", "no type|a type"),
        ("/no/such.json", "no/such.json"),
        ("?!", "name type: description"),
    ],
)
def test_invalid_schema(given: str, expected: str) -> None:
    done = pipy("ask", "-m", "faux/echo", "--schema", given, "q")
    assert done.returncode == 2
    assert re.search(expected, done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_concise_schema_syntax() -> None:
    made = schema.parse_shorthand("name: first, and last\ncounts list[int]\nok bool?")
    assert made["properties"] == {
        "name": {"type": "string", "description": "first, and last"},
        "counts": {"type": "array", "items": {"type": "integer"}},
        "ok": {"type": "boolean"},
    }
    assert made["required"] == ["name", "counts"]


def test_options(lab: Lab) -> None:
    given = ("-o", "seed=7", "-o", "stop=END", "-o", "extra.top_k=5", "-o", "headers.X-A=1")
    assert pipy("ask", *local(lab), *given, "hi").returncode == 0
    sent = lab.seen[0].json
    assert (sent["seed"], sent["stop"], sent["top_k"]) == (7, "END", 5)
    assert lab.seen[0].headers["x-a"] == "1"


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("temprature=1", "did you mean temperature?"),
        ("min_p=0.1", "unknown option 'min_p'; if the provider supports it: -o extra.min_p="),
        ("seed=x", "-o seed must be a valid integer"),
        ("max_tokens=0", "--max-tokens must be greater than 0, not 0"),
        ("seed", "NAME=VALUE"),
        ("api_key=sk-secret", "other users could read it"),
    ],
)
def test_invalid_option(option: str, expected: str) -> None:
    done = pipy("ask", "-m", "faux/echo", "-o", option, "hi")
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert "sk-secret" not in done.stderr


def test_extract_code() -> None:
    answer = "Sure:\n\n```python\nprint(1)\n```\n\nor\n\n~~~\nprint(2)\n~~~\nBye."
    asked = ("ask", "-m", "faux/echo")
    assert pipy(*asked, "-x", answer).stdout == "print(1)\n"
    assert pipy(*asked, "--xl", answer).stdout == "print(2)\n"
    none = pipy(*asked, "-x", "no code")
    assert (none.returncode, none.stdout) == (0, "no code\n")
    assert "no code block" in none.stderr


def test_continued_conversation(lab: Lab) -> None:
    assert pipy("ask", *local(lab), "-s", "Be brief.", "one").returncode == 0
    assert pipy("ask", "-m", "faux/echo", "--no-save", "secret").returncode == 0
    assert pipy("ask", "-m", "faux/echo", "secret", PIPY_NO_SAVE="1").returncode == 0
    assert pipy("ask", "-c", "two").returncode == 0  # the base URL is also saved
    said = [m["content"] for m in lab.seen[1].json["messages"]]
    assert said == ["Be brief.", "one", "ok", "two"]
    files = list(Path(os.environ["PIPY_DATA_DIR"], "history").iterdir())
    assert len(files) == 1
    assert files[0].stat().st_mode & 0o777 == 0o600
    by_id = pipy("ask", "--cid", files[0].stem[:12], "-m", "faux/echo", "three")
    assert by_id.stdout == "three\n"
    assert pipy("ask", "-c", *local(lab), "--thinking", "low", "four").returncode == 0
    assert pipy("ask", "-c", "five").returncode == 0
    assert lab.seen[-1].json["reasoning_effort"] == "low"
    with_key = lab.url.replace("://", "://me:sk-secret@")
    pipy("ask", "-c", "--api-base", with_key, "six")
    assert "sk-secret" not in files[0].read_text()
    refused = pipy("ask", "-c", "seven")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"used {lab.url}…" in refused.stderr
    assert "Pass the full address again with --api-base" in refused.stderr
    refused = pipy("chat", "-c", stdin="eight\n")
    assert (refused.returncode, "--api-base" in refused.stderr) == (2, True)
    nothing = pipy("ask", "--cid", "zzz", "hi")
    assert (nothing.returncode, "zzz" in nothing.stderr) == (2, True)


@pytest.mark.parametrize("suffix", ["?tenant=7", "/", ""])
def test_conversation_with_an_own_server_does_not_continue_at_the_public_one(
    lab: Lab, suffix: str
) -> None:
    own = {"OPENAI_BASE_URL": lab.url + suffix, "OPENAI_API_KEY": "k-0123456789"}
    assert pipy("ask", "-m", "openai/gpt-4o", "our secret plan", **own).returncode == 0
    public = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "k-0123456789"}
    done = pipy("ask", "-c", "-o", "max_retries=0", "and then?", **public)
    if suffix == "?tenant=7":
        assert (done.returncode, "--api-base" in done.stderr) == (2, True)
        done = pipy("ask", "-c", "--api-base", own["OPENAI_BASE_URL"], "and then?", **own)
    assert (done.returncode, len(lab.seen)) == (0, 2)


def test_unwritable_conversation_directory_is_reported_after_the_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = pipy("ask", "-m", "faux/echo", "hi", PIPY_DATA_DIR=str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (1, "hi\n")
    assert re.search(r"will not be saved: /\S+: \w+", done.stderr)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_terminal_with_a_narrow_encoding(encoding: str) -> None:
    env = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"}
    text = "# Grüße\n\n- **日本** → 1\n\n| a |\n|---|\n| ü |"
    with Terminal("-m", "pipy_ai", "ask", "-m", "faux/echo", text, env=env) as terminal:
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.text
        assert "Gr" in terminal.text
    assert pipy("ask", "-m", "faux/echo", text, **env).returncode == 0


def test_ten_megabytes_of_stdin(lab: Lab) -> None:
    done = pipy("ask", *local(lab), stdin=b"word " * 2_000_000)
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert lab.seen[0].json["messages"][0]["content"] == "word " * 2_000_000


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["-a", "-", "-a", "-"], "x", "once"),
        (["-a", "-"], "", "stdin is empty"),
        (["-a", "http://127.0.0.1:1/readme"], None, "cannot be fetched"),
        (["-a", "http://127.0.0.1:x/readme"], None, "Invalid port"),
    ],
)
def test_invalid_attachments(arguments: list[str], stdin: str | None, expected: str) -> None:
    done = pipy("ask", "-m", "faux/echo", *arguments, "q", stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("media_type", "kind"), [("image/png", "image"), ("application/pdf", "document")]
)
def test_image_or_pdf_at_a_url_without_extension(lab: Lab, media_type: str, kind: str) -> None:
    url = f"{lab.url.removesuffix('/v1')}/file"
    lab.play(Status(200, "x", {"content-type": media_type}))
    part = read_attachments([url])[0]
    assert (part.type, part.url) == (kind, url)


@pytest.mark.parametrize("charset", ["punycode", "IDNA", "hex", "undefined"])
def test_text_at_a_url_in_a_charset_that_is_none_of_texts(lab: Lab, charset: str) -> None:
    """Decoding this as Punycode would take days."""
    text = "a-" + "b" * 5_000_000
    lab.play(Status(200, text, {"content-type": f"text/plain; charset={charset}"}))
    [part] = read_attachments([f"{lab.url}/file"])
    assert isinstance(part, TextContent)
    assert text in part.text


def test_text_at_a_url_in_an_unknown_charset(lab: Lab) -> None:
    url = f"{lab.url.removesuffix('/v1')}/notes"
    lab.play(Status(200, "Grüße", {"content-type": "text/plain; charset=klingon"}))
    assert "Grüße" in read_attachments([url])[0].text


def test_large_text_at_a_url(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.cli.args.attachments.MAX_TEXT_BYTES", 1_000_000)
    lab.play(Status(200, "x" * 1_000_001))
    with pytest.raises(ValueError, match="more than 1 MB"):
        read_attachments([f"{lab.url.removesuffix('/v1')}/notes"])


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_only_gzip_is_requested_and_read_from_urls(lab: Lab, encoding: str) -> None:
    lab.play(Status(200, "bomb", {"content-encoding": encoding}))
    with pytest.raises(
        ValueError, match=f"the server sent the encoding '{encoding}', which was not requested"
    ):
        read_attachments([f"{lab.url.removesuffix('/v1')}/notes"])
    assert lab.seen[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:9/admin", "http://[::1]/", "http://10.0.0.1/"]
)
def test_public_url_that_redirects_to_a_private_address(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", lab.url.removesuffix("/v1"))  # plays the public host
    lab.play(Status(302, "", {"location": target}), Status(200, "secret"))
    with pytest.raises(ValueError, match="a private address"):
        read_attachments(["http://page.invalid/notes"])
    assert len(lab.seen) == 1


def test_secrets_in_a_url_are_not_shown(lab: Lab) -> None:
    url = lab.url.removesuffix("/v1").replace("://", "://me:hunter2@") + "?sig=hunter3"
    faults = [Status(404, ""), Status(200, "x", {"content-encoding": "br"})]
    lab.play(*faults, Status(200, "notes"))
    shown: list[str] = []
    for _ in faults:
        with pytest.raises(ValueError, match="http://127") as caught:
            read_attachments([url])
        shown.append(str(caught.value))
    shown.append(repr(read_attachments([url])))  # its name
    assert "notes" in shown[2]
    assert "hunter" not in "".join(shown)


SLOW_LOOKUP = """
import os, signal, socket, sys, threading
from pipy_ai.cli.main import main

def look_up(host, *_, **__):
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    done = threading.Event()
    while True:  # like a lookup in C, no signal interrupts it
        try:
            done.wait()
        except KeyboardInterrupt:
            pass

socket.getaddrinfo = look_up
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "words", [["ask", "-a", "http://slow.example/notes", "hi"], ["sync"], ["doctor", "--online"]]
)
def test_ctrl_c_during_the_lookup_of_a_host(words: list[str], tmp_path: Path) -> None:
    env = {**os.environ, "PIPY_DATA_DIR": str(tmp_path), "PIPY_OFFLINE": ""}
    command = [sys.executable, "-c", SLOW_LOOKUP, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


def test_redirects_at_a_url(lab: Lab) -> None:
    here = lab.url.removesuffix("/v1")
    lab.play(Status(302, "", {"location": "/moved"}), Status(200, "found it"))
    assert "found it" in read_attachments([f"{here}/notes"])[0].text
    lab.play(*[Status(302, "", {"location": "/again"})] * 8)
    with pytest.raises(ValueError, match="the server returned HTTP 302"):
        read_attachments([f"{here}/notes"])
