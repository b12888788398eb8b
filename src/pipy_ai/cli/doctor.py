"""`pipy doctor`: what is set up, what is not, and what to do about it. No key is ever shown."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from pipy_ai import __version__

from .catalogue import OLD, add_json
from .terminal import folded, safe, worded, write, write_json

DESCRIPTION = (
    "Look at what is set up and say what to do about what is not. Without --online nothing but "
    "this machine is asked."
)
OK, WARN, FAIL = "ok", "warn", "fail"
TESTED = (3, 14)  # the newest Python that the tests are run with
NEEDED = (1, 105)  # LiteLLM
_MALWARE = ("1.82.7", "1.82.8")
_BROKEN = re.compile(r"1\.10[67]\.")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass
class Finding:
    """One line: what was looked at, how it is (`ok`, `warn`, `fail`), and what to do."""

    about: str
    state: str
    said: str
    todo: str = ""


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument(
        "--online", action="store_true", help="ask each provider that has a key, and models.dev"
    )
    add_json(command)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    findings = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is found here, too
        for look in (*LOOKS, *([_online] if arguments.online else [])):
            for finding in look():
                findings.append(finding)
                if not arguments.json:
                    _show(finding)
    if arguments.json:
        write_json([asdict(finding) for finding in findings])
    return 1 if any(finding.state == FAIL for finding in findings) else 0


def _show(finding: Finding) -> None:
    line = f"{finding.state:<4}  {finding.about:<12}  {finding.said}\n"
    write(folded(safe(line), sys.stdout, 20))
    if finding.todo:
        write(f"{'':<20}→ {finding.todo}\n")


# --- What is installed ----------------------------------------------------------------------


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > TESTED:
        newest = ".".join(map(str, TESTED))
        yield Finding("Python", WARN, f"{version}, newer than {newest}, the newest that is tested")
    else:
        yield Finding("Python", OK, f"{version} at {sys.executable}")
    yield Finding("pipy-ai", OK, f"{__version__} at {os.path.dirname(os.path.dirname(__file__))}")


def _litellm() -> Iterator[Finding]:
    from importlib import metadata

    again = "pip install -U 'litellm>=1.105,!=1.106.*,!=1.107.*'"
    try:
        version = metadata.version("litellm")
    except metadata.PackageNotFoundError:
        said = "not installed; providers that need it cannot be asked"
        yield Finding("LiteLLM", FAIL, said, again)
        return
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if version in _MALWARE:
        todo = f"pip uninstall litellm, replace every key that this machine has seen, then {again}"
        yield Finding("LiteLLM", FAIL, f"{version} was malware that stole keys", todo)
    elif _BROKEN.match(version):
        yield Finding("LiteLLM", FAIL, f"{version} fails every call with tools", again)
    elif numbers < NEEDED:
        yield Finding("LiteLLM", FAIL, f"{version} is older than what pipy-ai needs", again)
    else:
        yield Finding("LiteLLM", OK, version)


# --- What is on this disk -------------------------------------------------------------------


def _data() -> Iterator[Finding]:
    from ..utils.paths import data_path

    place = data_path()
    existing = os.path.abspath(place)
    while not os.path.isdir(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing)
    if not os.access(existing, os.W_OK):
        todo = "set PIPY_DATA_DIR to a directory of yours"
        yield Finding("data", FAIL, f"{place} cannot be written", todo)
    elif os.name == "posix" and os.stat(existing).st_mode & stat.S_IWOTH and existing == place:
        yield Finding("data", WARN, f"anybody can write to {place}", f"chmod o-w {place}")
    else:
        yield Finding("data", OK, place if existing == place else f"{place}, not made yet")
    yield from _files(place)


def _files(place: str) -> Iterator[Finding]:
    """The files that can be damaged or too open."""
    from ..errors import ProviderError
    from ..provider.router import router_config
    from ..registry import keystore
    from ..utils.settings import settings

    reads: tuple[Callable[[], object], ...] = (keystore.entries, settings, router_config)
    for read in reads:
        try:
            read()
        except (ValueError, OSError) as error:
            yield Finding("data", FAIL, worded(error))
        except ProviderError as error:
            yield Finding("data", FAIL, error.error.message)
    keys = keystore.path()
    if os.name == "posix" and os.path.isfile(keys) and os.stat(keys).st_mode & 0o077:
        yield Finding("data", WARN, f"others can read {keys}", f"chmod 600 {keys}")


def _catalogue() -> Iterator[Finding]:
    from ..registry import get_registry
    from ..registry.auto import offline, state_of
    from ..utils.paths import data_path

    registry = get_registry()
    said = f"of {registry.date or 'an unknown date'}, from {registry.about.get('source')}"
    try:
        age = (datetime.date.today() - datetime.date.fromisoformat(registry.date)).days
    except ValueError:
        age = OLD + 1
    error = state_of(data_path()).get("error")
    if error:
        yield Finding("catalogue", WARN, f"{said}; the last sync failed: {error}", "pipy sync")
    elif age > OLD:
        yield Finding("catalogue", WARN, f"{said}: its prices are {age} days old", "pipy sync")
    else:
        yield Finding("catalogue", OK, f"{said}{', PIPY_OFFLINE is set' if offline() else ''}")


# --- Whom one can ask -----------------------------------------------------------------------


def _keys() -> Iterator[Finding]:
    from ..registry.keystore import Damaged
    from .keys import found_keys, worded

    try:
        rows = found_keys()
    except (Damaged, OSError):  # which was told with the files
        return
    for row in rows:
        said = f"{row['variable']} in {worded(row['place'])}"
        who = ", ".join(row["providers"]) or "nobody"
        yield Finding("key", OK, f"{said}, for {who}")
    if not rows:
        yield Finding("key", WARN, "no provider's key is set", "pipy keys set PROVIDER")


def _default() -> Iterator[Finding]:
    from importlib import util

    from ..provider.local import find_weights
    from .default import chosen

    model, why = chosen()
    if not model:
        yield Finding("default", FAIL, "no model answers when none is named", why)
    else:
        yield Finding("default", OK, f"{model} ({why})")
    engine, weights = util.find_spec("xllamacpp") is not None, find_weights()
    if engine and weights is not None:
        yield Finding("embedded", OK, str(weights))
    elif engine:
        state = FAIL if model.startswith("local/smollm2") else WARN
        yield Finding("embedded", state, "its weights are missing", "pipy local pull")
    else:
        yield Finding("embedded", OK, "not installed; pip install 'pipy-ai[local]' brings it")


def _servers() -> Iterator[Finding]:
    from .discover import discover

    for server in discover():
        names = ", ".join(model.name for model in server.models)
        said = f"{server.kind} at {server.address}: {names or server.problem}"
        yield Finding("server", OK if names else WARN, said)


# --- What is between ------------------------------------------------------------------------


def _ways() -> Iterator[Finding]:
    for name in _PROXIES:
        value = os.environ.get(name.lower()) or os.environ.get(name)
        if value:
            yield Finding("network", OK, f"{name} is {_public(value)}")
    for name in _CERTIFICATES:
        value = os.environ.get(name)
        if value and not os.path.exists(value):
            todo = "unset it, or name a file of certificates"
            yield Finding("network", FAIL, f"{name} names {value}, which is not there", todo)
        elif value:
            yield Finding("network", OK, f"{name} is {value}")


def _public(address: str) -> str:
    return re.sub(r"^(\w+://)?[^/]*@", r"\1***@", address)


def _terminal() -> Iterator[Finding]:
    encoding = (sys.stdout.encoding or "unknown").lower()
    if encoding.replace("-", "") in ("utf8", "utf8sig"):
        yield Finding("terminal", OK, encoding)
    else:
        said = f"{encoding}: characters that it lacks become ?"
        yield Finding("terminal", WARN, said, "set PYTHONUTF8=1, or a UTF-8 locale")


def _online() -> Iterator[Finding]:
    from .reach import reach

    for about, state, said, todo in reach():
        yield Finding(about, state, said, todo)


LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python, _litellm, _data, _catalogue, _keys, _default, _servers, _ways, _terminal,
)  # fmt: skip
