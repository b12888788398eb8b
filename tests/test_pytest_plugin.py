"""Test the plugin of pytest: the marker, the fixtures, `--record` and the blocked network."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .support.scripted_server import Lab, chat, finish, text

pytest_plugins = "pytester"
# The plugin may also be installed, under its own name.
PLUGIN = ("-p", "no:pipy", "-p", "pipy_ai.pytest_plugin", "-p", "no:cacheprovider", "-q")
OK = chat(text("Paris."), finish("stop"))


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*PLUGIN, "--strict-markers", *arguments)


def test_marker_records_and_replays(pytester: pytest.Pytester, lab: Lab) -> None:
    pytester.makepyfile(
        test_capital=f"""
        import pytest
        from pipy_ai import acomplete, complete

        @pytest.mark.pipy
        @pytest.mark.parametrize("country", ["France", "a/b: c"])
        def test_one(country):
            message = complete("hosted_vllm/m", country, api_base={lab.url!r})
            assert message.text == "Paris.", message.error

        @pytest.mark.pipy(cassette="x.yaml", timing=True)
        class TestClass:
            def test_two(self, pipy_cassette):
                assert complete("hosted_vllm/m", "q", api_base={lab.url!r}).text == "Paris."
                assert pipy_cassette.path.name == "x.yaml"

            def test_three(self):
                assert complete("hosted_vllm/m", "q3", api_base={lab.url!r}).text == "Paris."

        def test_other():
            pass
        """
    )
    lab.always = OK
    result = run(pytester)
    result.assert_outcomes(failed=4, passed=1)
    result.stdout.fnmatch_lines(
        ["*Requests that are not in the cassette*", "*does not exist*--record*"]
    )
    assert len(lab.seen) == 0
    run(pytester, "--record").assert_outcomes(passed=5)
    assert len(lab.seen) == 4
    files = sorted(str(p.relative_to(pytester.path)) for p in pytester.path.rglob("*.yaml"))
    assert files[1].startswith("cassettes/test_capital/test_one[a-b-c]-")
    assert files[::2] == ["cassettes/test_capital/test_one[France].yaml", "x.yaml"]
    run(pytester).assert_outcomes(passed=5)
    run(pytester, "--record").assert_outcomes(passed=5)
    assert len(lab.seen) == 4
    run(pytester, "--record-all").assert_outcomes(passed=5)
    assert len(lab.seen) == 8
    run(pytester).assert_outcomes(passed=5)


def test_request_that_is_not_recorded_fails_the_test(pytester: pytest.Pytester, lab: Lab) -> None:
    code = f"""
        from pipy_ai import complete

        def test_one(pipy_cassette):
            complete("hosted_vllm/m", "PROMPT", api_base={lab.url!r})
        """
    pytester.makepyfile(test_one=code.replace("PROMPT", "The capital of France?"))
    lab.play(OK)
    run(pytester, "--record").assert_outcomes(passed=1)
    pytester.makepyfile(test_one=code.replace("PROMPT", "The capital of Spain?"))
    result = run(pytester)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(['-   "content": "The capital of France?",',
                                 '+   "content": "The capital of Spain?",'])  # fmt: skip


def test_faux(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from pipy_ai import acomplete, complete, faux

        @pytest.mark.pipy(faux="Paris.", name="anthropic")
        def test_one_reply(pipy_faux):
            assert complete("anthropic/claude-sonnet-4-5", "q").text == "Paris."
            assert pipy_faux.calls == 1

        @pytest.mark.pipy(faux=["a", faux.tool("f", x=1)])
        def test_list():
            assert complete("faux/m", "q").text == "a"
            assert complete("faux/m", "q").content[0].name == "f"

        def test_without_marker(pipy_faux):
            pipy_faux.add("b")
            assert complete("faux/m", "q").text == "b"
        """
    )
    run(pytester).assert_outcomes(passed=3)


def test_network_is_blocked(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio, socket
        import pytest
        from pipy_ai import complete
        from pipy_ai.pytest_plugin import NetworkBlockedError

        @pytest.mark.pipy(faux="x")
        def test_one():
            for connect in (socket.create_connection, socket.socket().connect_ex):
                with pytest.raises(NetworkBlockedError, match="192.0.2.1"):
                    connect(("192.0.2.1", 80))
            with pytest.raises(NetworkBlockedError, match="example.org"):
                socket.getaddrinfo("example.org", 80)
            error = complete("openai/gpt-5", "q", api_key="k", max_retries=0).error
            assert "the network is blocked" in error.message
            asyncio.run(asyncio.sleep(0))
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname()).close()
                socket.create_connection(("localhost", server.getsockname()[1])).close()

        @pytest.mark.pipy(network=True)
        def test_allowed():
            with pytest.raises(OSError):
                socket.create_connection(("host.invalid", 80))

        def test_after():
            assert socket.socket.connect is not None
            assert socket.getaddrinfo.__module__ == "socket"
        """
    )
    run(pytester).assert_outcomes(passed=3)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("'x.yaml'", "does not take 'x.yaml'"),
        ("file='x'", "does not take file"),
        ("faux='x', cassette='y'", "faux= or cassette=, not both"),
        ("mode='twice'", "mode must be"),
    ],
)
def test_wrong_marker(pytester: pytest.Pytester, arguments: str, problem: str) -> None:
    pytester.makepyfile(f"import pytest\n@pytest.mark.pipy({arguments})\ndef test_one(): pass\n")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{problem}*"])


def test_plugin_is_an_entry_point_and_imports_little() -> None:
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"pipy": "pipy_ai.pytest_plugin"}
    code = (
        "import sys, pytest; import pipy_ai.pytest_plugin; "
        "print([name for name in sys.modules if name.startswith('pipy_ai')])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert printed == "['pipy_ai._version', 'pipy_ai', 'pipy_ai.pytest_plugin']\n"
