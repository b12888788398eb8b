"""Test that images and audio of answers become files."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from pipy_ai import assistant
from pipy_ai.cli.display.media_files import save_media
from pipy_ai.types import ImageContent

from ..support.scripted_command import scripted_command
from ..support.terminal import Terminal

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
CAT = f"reply('A cat:', image({PNG!r}), 'Enjoy!')"
HELLO = "reply(audio(bytes(4800), 'Hello!', 'audio/pcm;rate=24000'))"


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def run(
    reply: str, *arguments: str, stdin: bytes = b"", command: str = "ask"
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process whose model gives one reply."""
    done = subprocess.run(
        [sys.executable, "-c", scripted_command(reply), command, "-m", "faux/any", *arguments],
        capture_output=True, input=stdin, timeout=60, check=False,
    )  # fmt: skip
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def test_option_o_with_the_name_of_an_image_writes_it() -> None:
    Path("cat.png").write_bytes(b"old")
    os.chmod("cat.png", 0o640)
    done = run(CAT, "-o", "cat.png", "-o", "seed=7", "draw")
    assert (done.returncode, done.stdout) == (0, "A cat:Enjoy!\n")
    assert done.stderr == "pipy: saved cat.png\n"
    assert Path("cat.png").read_bytes() == PNG
    assert stat.S_IMODE(os.stat("cat.png").st_mode) == 0o640
    assert run(CAT, "--output", "a=b", "draw").stderr == "pipy: saved a=b.png\n"


def test_without_a_name_nothing_is_overwritten_or_lost() -> None:
    Path("image.png").write_bytes(b"mine")
    two = f"reply(image({PNG!r}), image(b'x', 'image/jpeg'), image(b'y'))"
    done = run(two, "draw")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "pipy: saved image-2.png\npipy: saved image.jpg\npipy: saved image-3.png\n"
    )
    files = {name: Path(name).read_bytes() for name in os.listdir()}
    assert files == {
        "image.png": b"mine", "image-2.png": PNG, "image.jpg": b"x", "image-3.png": b"y"
    }  # fmt: skip
    more = run(two, "-o", "cat.png", "draw")
    assert more.stderr == "pipy: saved cat.png\npipy: saved cat.jpg\npipy: saved cat-2.png\n"


def test_audio_is_saved_as_a_playable_file_and_its_words_are_the_answer() -> None:
    done = run(HELLO, "speak")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello!\n", "pipy: saved audio.wav\n")
    with wave.open("audio.wav") as sound:
        assert (sound.getnchannels(), sound.getframerate(), sound.getnframes()) == (1, 24000, 2400)
    both = f"reply(image({PNG!r}), audio(b'sound'))"
    assert run(both, "-o", "a.wav", "q").stderr == "pipy: saved a.wav\npipy: saved a.png\n"
    assert Path("a.wav").read_bytes() == b"sound"


def test_path_is_printed_under_the_answer_on_a_terminal() -> None:
    code = scripted_command(CAT)
    with Terminal("-c", code, "ask", "-m", "faux/any", "draw") as terminal:
        assert terminal.wait() == 0
        assert terminal.text.splitlines()[:3] == ["A cat:", "Enjoy!", "pipy: saved image.png"]
    code = scripted_command(HELLO)
    with Terminal("-c", code, "ask", "-m", "faux/any", "speak") as terminal:
        assert terminal.wait() == 0
        assert terminal.text.splitlines()[:2] == ["Hello!", "pipy: saved audio.wav"]


def test_json_has_the_image_and_no_file_is_written_unless_named() -> None:
    done = run(CAT, "--json", "draw")
    assert [part["type"] for part in json.loads(done.stdout)["content"]] == [
        "text", "image", "text"
    ]  # fmt: skip
    assert (done.stderr, os.listdir()) == ("", [])
    assert run(CAT, "--events", "-o", "cat.png", "draw").stderr == "pipy: saved cat.png\n"


def test_interrupted_answer_keeps_its_images() -> None:
    code = scripted_command(f"reply(image({PNG!r}), 'and then', stall())")
    with Terminal("-c", code, "ask", "-m", "faux/any", "draw") as terminal:
        terminal.wait_for("and then")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert "pipy: saved image.png" in terminal.text
    assert Path("image.png").read_bytes() == PNG


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "seed"], "-o seed: expected NAME=VALUE, or the name of an image or audio file"),
        (["-o", "none/cat.png"], "--output none/cat.png: the directory none does not exist"),
        (["--output", "."], "--output .: it is a directory; name a file"),
        (["-o", "a.png", "-o", "b.png"], "use one output file, not a.png and b.png"),
    ],
)
def test_nothing_is_sent_if_the_file_cannot_be_written(arguments: list[str], message: str) -> None:
    done = run(CAT, *arguments, "draw")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"pipy: {message}\n")
    assert os.listdir() == []


def test_answer_without_an_image_is_reported_if_a_file_was_named() -> None:
    done = run("'No.'", "-o", "cat.png", "draw")
    assert (done.returncode, done.stdout) == (1, "No.\n")
    assert done.stderr == "pipy: the answer has no image and no audio; cat.png was not written\n"
    failed = run("faux.error('bad_request', 'refused')", "-o", "cat.png", "draw")
    assert failed.returncode == 1
    assert "cat.png" not in failed.stderr


def test_unwritable_directory_falls_back_to_the_temporary_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = assistant("x")
    answer.content = [ImageContent(data="eA==", mime_type="image/png")]
    assert not save_media([answer], "gone/cat.png")
    assert (tmp_path / "image.png").read_bytes() == b"x"
    assert capsys.readouterr().err.endswith(f"pipy: saved {tmp_path / 'image.png'}\n")


def test_image_at_an_address_or_damaged_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    answer = assistant("x")
    answer.content = [
        ImageContent(url="https://images.example/1.png"),
        ImageContent(data="%", mime_type="image/png"),
        ImageContent(data="eA==", mime_type="image/png"),
    ]
    assert not save_media([answer])
    address, damaged, saved = capsys.readouterr().err.splitlines()
    assert address == "pipy: the image is at https://images.example/1.png"
    assert damaged.startswith("pipy: the image was not saved: the data of the image is not valid")
    assert saved == "pipy: saved image.png"
    assert os.listdir() == ["image.png"]


def test_chat_saves_images() -> None:
    done = run(CAT, command="chat", stdin=b"draw a cat\n")
    assert (done.returncode, done.stdout) == (0, "A cat:Enjoy!\n")
    assert done.stderr == "pipy: saved image.png\n"
    assert Path("image.png").read_bytes() == PNG


def test_output_may_be_a_device() -> None:
    done = run("image(b'picture')", "--output", "/dev/stdout", "draw")
    assert (done.returncode, done.stdout) == (0, "picture")


def test_comparison_saves_the_images_of_each_model() -> None:
    code = scripted_command(CAT, CAT)
    models = ("-m", "faux/a", "-m", "faux/b")
    done = subprocess.run(
        [sys.executable, "-c", code, "compare", "-p", "draw", *models],
        capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    lines = done.stderr.decode().splitlines()
    assert lines == ["pipy: faux/a: saved image.png", "pipy: faux/b: saved image-2.png"]
    assert done.returncode == 0
    assert Path("image-2.png").read_bytes() == PNG
