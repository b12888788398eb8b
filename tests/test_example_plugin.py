"""Test the package of docs/plugins.md: built, installed in an empty environment, and used."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "pipy-dice"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the commands of an environment with pipy-ai and the example only."""
    folder = tmp_path_factory.mktemp("example")
    build = "import sys, hatchling.build; hatchling.build.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=EXAMPLE, check=True)
    [wheel] = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    commands = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    install = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([commands / "python", *install], check=True)
    # What pipy-ai needs is borrowed: without its metadata, so that no other plugin is found.
    packages = sysconfig.get_paths()["purelib"]
    borrow = f"import sys; sys.path += [{str(ROOT / 'src')!r}, {packages!r}]\n"
    site = subprocess.run(
        [commands / "python", "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    paths = [path for path in sys.path if path.endswith("site-packages")]
    borrow = f"import sys; sys.path += {[str(ROOT / 'src'), packages, *paths]!r}\n"
    Path(site, "borrowed.pth").write_text(borrow)
    return commands


def pipy(commands: Path, *arguments: str) -> str:
    done = subprocess.run(
        [commands / "python", "-m", "pipy_ai", *arguments],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_the_page_shows_the_files_of_the_example() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    for language, name in (("toml", "pyproject.toml"), ("python", "pipy_dice.py")):
        block = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
        assert block is not None
        assert block[1] == (EXAMPLE / name).read_text(encoding="utf-8")


def test_the_provider(commands: Path) -> None:
    assert pipy(commands, "ask", "-m", "dice/1", "Roll") == "You rolled 1.\n"
    code = "from pipy_ai import complete; print(complete('dice/1', 'Roll').text)"
    done = subprocess.run([commands / "python", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("You rolled 1.\n", "")


def test_the_tool(commands: Path) -> None:
    assert '"Roll dice."' in pipy(commands, "preview", "-m", "openai/gpt-5", "--tool", "roll", "q")


def test_the_template(commands: Path) -> None:
    asked = pipy(commands, "ask", "-m", "faux/echo", "-t", "fortune", "-p", "whom=me", "6 6")
    assert asked == "You are a fortune teller. What does the roll 6 6 mean for me?\n"


def test_the_command(commands: Path) -> None:
    assert pipy(commands, "roll", "3", "--sides", "1") == "1 1 1\n"
    assert "how many sides each has" in pipy(commands, "roll", "--help")


def test_pipy_doctor_lists_them(commands: Path) -> None:
    done = subprocess.run(
        [commands / "python", "-m", "pipy_ai", "doctor"], capture_output=True, text=True, timeout=60
    )
    assert "pipy-dice: provider dice, tool roll, template fortune, command roll" in done.stdout
