"""Plugin of pytest: fixtures, a marker and `--record` for scripted and recorded responses.

pytest loads it in every session, so nothing else is imported before a test needs it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .provider.cassette import Cassette, RecordMode
    from .provider.faux import FauxProvider

MARKER = "pipy"
MAX_NAME_CHARS = 120  # of a file
_ARGUMENTS = {"cassette", "faux", "mode", "name", "network", "timing"}
_unmatched = pytest.StashKey[list[str]]()
_recorded = pytest.StashKey[set[Path]]()
_passed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("pipy", "pipy-ai")
    group.addoption(
        "--record",
        action="store_const",
        const="new",
        default="none",
        dest="pipy_record",
        help="record requests that are not in the cassette of a test",
    )
    group.addoption(
        "--record-all",
        action="store_const",
        const="all",
        dest="pipy_record",
        help="record every cassette again",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(cassette=, mode=, timing=, faux=, name=, network=False): replay the responses of"
        " a cassette, or script them with pipy_ai.faux; the network is blocked",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the fixture of the marker to each marked test."""
    for item in items:
        marker = item.get_closest_marker(MARKER)
        names: list[str] | None = getattr(item, "fixturenames", None)
        if marker is not None and names is not None:
            fixture = "pipy_faux" if "faux" in marker.kwargs else "pipy_cassette"
            if fixture not in names:
                names.insert(0, fixture)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Note whether a test passed; otherwise show which requests were not recorded."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.stash[_passed] = report.passed
        if report.failed and (unmatched := item.stash.get(_unmatched, [])):
            report.sections.append(("Requests that are not in the cassette", "\n".join(unmatched)))


@pytest.fixture
def pipy_cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """A cassette that is open during the test: `cassettes/<module>/<test>.yaml`, or the marker's.

    It replays, unless `--record` or the marker's `mode=` says otherwise. The test fails if a
    request is not in it. The network is blocked while nothing is recorded.
    """
    from .provider.cassette import cassette

    arguments = _marker_arguments(request)
    mode: RecordMode = arguments.get("mode", request.config.option.pipy_record)
    path = _cassette_path(request, arguments.get("cassette"))
    if mode == "all":  # an earlier test may have recorded into the same file
        recorded = request.config.stash.setdefault(_recorded, set())
        mode = "new" if path in recorded else "all"
        recorded.add(path)
    with ExitStack() as stack:
        stack.enter_context(_without_response_cache())
        opened = stack.enter_context(cassette(path, mode, timing=bool(arguments.get("timing"))))
        if not opened.records and not arguments.get("network"):
            stack.enter_context(blocked_network())
        request.node.stash[_unmatched] = opened.unmatched
        yield opened
    if opened.unmatched and request.node.stash.get(_passed, False):
        pytest.fail("\n".join(opened.unmatched), pytrace=False)


@pytest.fixture
def pipy_faux(request: pytest.FixtureRequest) -> Iterator[FauxProvider]:
    """A scripted provider that is active during the test, with the replies of the marker.

    The network is blocked.
    """
    from .provider import faux

    arguments = _marker_arguments(request)
    replies = arguments.get("faux", ())
    replies = replies if isinstance(replies, list | tuple) else [replies]
    with ExitStack() as stack:
        stack.enter_context(_without_response_cache())
        if not arguments.get("network"):
            stack.enter_context(blocked_network())
        yield stack.enter_context(faux.script(*replies, name=arguments.get("name", "faux")))


def _marker_arguments(request: pytest.FixtureRequest) -> dict[str, Any]:
    marker = request.node.get_closest_marker(MARKER)
    if marker is None:
        return {}
    unknown = [*map(repr, marker.args), *sorted(set(marker.kwargs) - _ARGUMENTS)]
    if unknown:
        names = ", ".join(sorted(_ARGUMENTS))
        raise pytest.UsageError(
            f"the marker {MARKER} does not take {', '.join(unknown)}: use {names}"
        )
    if "faux" in marker.kwargs and "cassette" in marker.kwargs:
        raise pytest.UsageError(f"the marker {MARKER} takes faux= or cassette=, not both")
    return dict(marker.kwargs)


def _cassette_path(request: pytest.FixtureRequest, given: str | None) -> Path:
    directory = request.path.parent
    if given is not None:
        return directory / given
    qualified_name = request.node.nodeid.partition("::")[2].replace("::", ".")
    name = re.sub(r"[^\w.\[\]-]+", "-", qualified_name)[:MAX_NAME_CHARS]
    if name != qualified_name:  # two names may have become the same
        name += "-" + hashlib.sha256(qualified_name.encode()).hexdigest()[:8]
    return directory / "cassettes" / request.path.stem / f"{name}.yaml"


@contextmanager
def _without_response_cache() -> Generator[None, None, None]:
    """Ignore `PIPY_CACHE`, or tests would get other responses than they expect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PIPY_CACHE", raising=False)
        yield


class NetworkBlockedError(RuntimeError):
    """A test that uses a cassette or a scripted provider opened a connection."""


@contextmanager
def blocked_network() -> Generator[None, None, None]:
    """Let connections fail, except those to this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def checked_connect(self: socket.socket, address: Any) -> None:
        _check_address(address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        _check_address(address)
        return connect_ex(self, address)

    def checked_getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        _check_host(host)
        return getaddrinfo(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked_connect)
        patch.setattr(socket.socket, "connect_ex", checked_connect_ex)
        patch.setattr(socket, "getaddrinfo", checked_getaddrinfo)
        yield


def _check_address(address: Any) -> None:
    if isinstance(address, tuple):  # others are not of the network
        _check_host(address[0])


def _check_host(host: Any) -> None:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host or "localhost")
    try:
        is_own = ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        is_own = name == "localhost" or name.endswith(".localhost")
    if not is_own:
        raise NetworkBlockedError(
            f"the network is blocked in this test, which tried to connect to {name}. Record the"
            " request with `pytest --record`, or allow it with"
            f" @pytest.mark.{MARKER}(network=True)."
        )
