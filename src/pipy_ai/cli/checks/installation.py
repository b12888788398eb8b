"""Check the versions of Python, pipy-ai and LiteLLM, and list the optional packages."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

from ... import _version
from .finding import FAIL, OK, WARN, Finding

NEWEST_TESTED_PYTHON = (3, 14)  # the newest Python that the tests were run with
MIN_LITELLM = (1, 105)
_MALWARE_VERSIONS = ("1.82.7", "1.82.8")
_BROKEN_VERSIONS = re.compile(r"1\.10[67]\.")


def check_python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > NEWEST_TESTED_PYTHON:
        newest_tested = ".".join(map(str, NEWEST_TESTED_PYTHON))
        yield Finding(
            "Python", WARN, f"{version}, newer than {newest_tested}, the newest tested version"
        )
    else:
        yield Finding("Python", OK, f"{version} at {sys.executable}")
    from ...utils.extras import distribution_name, mismatched_distributions

    package_dir = os.path.dirname(_version.__file__)
    yield Finding(distribution_name(), OK, f"{_version.__version__} at {package_dir}")
    if problem := mismatched_distributions():
        command = "pip uninstall pipy-ai pipy-ai-slim, then install one of them"
        yield Finding("pipy-ai", WARN, problem, command)


def check_litellm() -> Iterator[Finding]:
    from importlib import metadata

    from ...utils.extras import SLIM, distribution_name, install_command

    upgrade_command = "pip install -U 'litellm>=1.105,!=1.106.*,!=1.107.*'"
    try:
        version = metadata.version("litellm")
    except metadata.PackageNotFoundError:
        command = install_command("litellm")
        detail = "not installed; providers that need it are unavailable"
        if distribution_name() == SLIM:
            yield Finding("LiteLLM", OK, f"{detail}: {command}")
        else:
            yield Finding("LiteLLM", FAIL, detail, command)
        return
    release = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if version in _MALWARE_VERSIONS:
        fix = (
            "pip uninstall litellm, replace every key that this machine has seen, then"
            f" {upgrade_command}"
        )
        yield Finding("LiteLLM", FAIL, f"{version} contained malware that stole keys", fix)
    elif _BROKEN_VERSIONS.match(version):
        yield Finding("LiteLLM", FAIL, f"{version} fails every call with tools", upgrade_command)
    elif release < MIN_LITELLM:
        yield Finding("LiteLLM", FAIL, f"{version} is too old for pipy-ai", upgrade_command)
    else:
        yield Finding("LiteLLM", OK, version)


def check_extras() -> Iterator[Finding]:
    from ...utils.extras import EXTRAS, has_extra, install_command

    installed: list[str] = []
    missing: list[str] = []
    for name, extra in EXTRAS.items():
        if name != "litellm":  # has a line of its own
            (installed if has_extra(name) else missing).append(f"{name} ({extra.purpose})")
    if installed:
        yield Finding("extras", OK, f"installed: {', '.join(installed)}")
    if missing:
        detail = f"not installed: {', '.join(missing)}; {install_command('NAME')} adds one"
        yield Finding("extras", OK, detail)
