"""Test that each claim of SECURITY.md names tests which exist, and claims about all of the code."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import complete

from .support.doc_pages import ROOT
from .support.scripted_server import Lab

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROMISES, THREATS = (
    TEXT.partition(f"## {title}")[2].partition("\n## ")[0]
    for title in ("What pipy-ai promises", "Threat model")
)
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
DANGEROUS = {
    "eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load",
    "pickle", "marshal", "shelve", "dill", "cloudpickle",
    "shell=True", "verify=False", "check_hostname=False",
}  # fmt: skip
SOURCES = sorted((ROOT / "src" / "pipy_ai").rglob("*.py"))


def test_every_test_that_is_named_exists() -> None:
    references = REFERENCE.findall(TEXT)
    assert len(references) > 60
    defined: dict[str, set[str]] = {}
    for path in {path for path, _ in references}:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        defined[path] = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    assert [f"{path}::{name}" for path, name in references if name not in defined[path]] == []
    assert all(name.startswith("test_") for _, name in references)


def test_every_claim_names_a_test() -> None:
    claims = re.findall(r"^- (?:.|\n(?=  ))+", PROMISES, re.MULTILINE)
    assert len(claims) > 30
    assert [claim for claim in claims if not REFERENCE.search(claim)] == []


def test_every_limit_of_trust_names_a_test() -> None:
    rows = [row.split("|")[1:-1] for row in THREATS.splitlines() if row.startswith("| ")][2:]
    assert len(rows) > 8
    for who, _, limit in rows:
        assert REFERENCE.search(limit) or limit.strip() == "–", who


def _calls(tree: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def _dangerous_code(path: Path) -> set[str]:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    names = {ast.unparse(call.func) for call in calls}
    names |= {alias.name for node in imports for alias in node.names}
    names |= {f"{word.arg}={ast.unparse(word.value)}" for call in calls for word in call.keywords}
    return names & DANGEROUS | ({"CERT_NONE"} if "CERT_NONE" in source else set())


def test_no_code_evaluates_text() -> None:
    """The one exception builds dataclasses from the names of their fields, faster than Python's."""
    found = {path.name: names for path in SOURCES if (names := _dangerous_code(path))}
    assert found == {"dataclass.py": {"exec"}}


def test_references_in_schemas_are_not_fetched(lab: Lab) -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": f"{lab.url}/schema.json"}}}
    with pytest.raises((TypeError, ValueError), match="refers to another schema"):
        complete("faux/echo", "hi", output=schema)
    assert lab.seen == []


@pytest.mark.litellm
def test_litellm_downloads_nothing_and_reads_no_env_file(tmp_path: Path) -> None:
    """In a process whose every connection but those on loopback is an error."""
    (tmp_path / ".env").write_text("VOLCENGINE_API_KEY=key-of-the-env-file\n")
    (tmp_path / "below").mkdir()
    code = """
import json, os, socket, sys
hosts = []
def audit(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect"):
        hosts.append(repr(arguments[0] if event == "socket.getaddrinfo" else arguments[1]))
sys.addaudithook(audit)
from pipy_ai import complete
message = complete("volcengine/x", "hi", max_retries=0)
assert "litellm" in sys.modules
print(json.dumps([message.error.kind, os.environ.get("VOLCENGINE_API_KEY"), hosts]))
"""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path / "below",
        env={**environment, "PIPY_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: list[Any] = json.loads(done.stdout.splitlines()[-1])
    assert result == ["missing_key", None, []]
