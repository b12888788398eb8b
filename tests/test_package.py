"""Test the distribution: metadata, files, and what must never be committed."""

from __future__ import annotations

import email
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from importlib.metadata import version
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import pipy_ai
from pipy_ai.registry import catalogue
from pipy_ai.utils.extras import EXTRAS, distribution_name

from .support import catalogues as feeds

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_version_is_defined_once() -> None:
    assert PROJECT["version"] == pipy_ai.__version__ == version(distribution_name())
    assert f"## [{pipy_ai.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_bad_litellm_versions_are_excluded() -> None:
    extras = PROJECT["optional-dependencies"].values()
    everything = chain(PROJECT["dependencies"], *extras)
    found = [requirement for requirement in everything if requirement.startswith("litellm")]
    # Of pipy-ai, and of the extras litellm, gateway and dev.
    assert len(found) == (4 if PROJECT["name"] == "pipy-ai" else 3)
    for litellm in found:
        for bad in ("!=1.106.*", "!=1.107.*", "!=1.82.7", "!=1.82.8", ">=1.105"):
            assert bad in litellm


def test_types_and_template_are_shipped() -> None:
    package = files("pipy_ai")
    assert (package / "py.typed").is_file()
    assert (package / "provider" / "smollm2.jinja").is_file()


def test_no_registry_host_and_no_lock_file_is_committed() -> None:
    hosts = re.compile(r"https?://[\w.-]*(pypi|pythonhosted|npmjs|debian)\.(org|com)", re.I)
    for path in tracked():
        assert path.name not in ("uv.lock", "poetry.lock")
        if path.is_file() and path.suffix in (".toml", ".txt", ".md", ".py", ".cfg", ""):
            assert not hosts.search(path.read_text(encoding="utf-8", errors="replace")), path


def test_wheel_contains_the_package_and_nothing_else(tmp_path: Path) -> None:
    build = "import sys, hatchling.build; hatchling.build.build_wheel(sys.argv[1])"
    environment = {name: value for name, value in os.environ.items() if name != "PIPY_SNAPSHOT"}
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, env=environment, check=True
    )
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 1_000_000
    inside = zipfile.ZipFile(wheel).namelist()
    info = f"{PROJECT['name'].replace('-', '_')}-{pipy_ai.__version__}.dist-info/"
    assert {name.partition("/")[0] + "/" for name in inside} == {"pipy_ai/", info}
    shipped = {str(p.relative_to(ROOT / "src")) for p in tracked() if ROOT / "src" in p.parents}
    assert {name for name in inside if not name.startswith(info)} == shipped
    assert {f"{info}METADATA", f"{info}entry_points.txt", f"{info}licenses/LICENSE"} <= {*inside}


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    """The wheels that are published, by the name of the distribution."""
    if PROJECT["name"] != "pipy-ai":
        pytest.skip("the source distribution of pipy-ai-slim builds only itself")
    folder = tmp_path_factory.mktemp("dist")
    environment = {name: value for name, value in os.environ.items() if name != "PIPY_SNAPSHOT"}
    command = [sys.executable, str(ROOT / "build_packages.py"), str(folder)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    names = {
        "pipy-ai": f"pipy_ai-{pipy_ai.__version__}",
        "pipy-ai-slim": f"pipy_ai_slim-{pipy_ai.__version__}",
    }
    assert {path.name for path in folder.iterdir()} == {
        file for name in names.values() for file in (f"{name}-py3-none-any.whl", f"{name}.tar.gz")
    }
    return {
        distribution: zipfile.ZipFile(folder / f"{name}-py3-none-any.whl")
        for distribution, name in names.items()
    }


def wheel_metadata(wheel: zipfile.ZipFile) -> tuple[Message, set[str]]:
    """Return the metadata of a wheel and its requirements, those of extras in their own form."""
    [path] = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    parsed = email.message_from_bytes(wheel.read(path))
    return parsed, set(parsed.get_all("Requires-Dist") or ())


def test_slim_distribution_has_the_code_and_litellm_only_as_an_extra(
    distributions: dict[str, zipfile.ZipFile],
) -> None:
    wheel = distributions["pipy-ai-slim"]
    fields, requirements = wheel_metadata(wheel)
    assert (fields["Name"], fields["Version"]) == ("pipy-ai-slim", pipy_ai.__version__)
    files_of_package = {name for name in wheel.namelist() if name.startswith("pipy_ai/")}
    shipped = {str(p.relative_to(ROOT / "src")) for p in tracked() if ROOT / "src" in p.parents}
    assert files_of_package == shipped
    required = {r for r in requirements if "extra ==" not in r}
    assert not any(r.startswith("litellm") for r in required)
    full = {r for r in PROJECT["dependencies"] if not r.startswith("litellm")}
    assert {r.lower() for r in full} == required
    assert {*EXTRAS, "dev", "docs"} == {*(fields.get_all("Provides-Extra") or ())}


def test_full_distribution_requires_the_slim_one(
    distributions: dict[str, zipfile.ZipFile],
) -> None:
    wheel = distributions["pipy-ai"]
    fields, requirements = wheel_metadata(wheel)
    slim_fields, _ = wheel_metadata(distributions["pipy-ai-slim"])
    extras = fields.get_all("Provides-Extra") or []
    assert requirements == {
        f"pipy-ai-slim[litellm]=={pipy_ai.__version__}",
        *(f"pipy-ai-slim[{extra}]=={pipy_ai.__version__}; extra == '{extra}'" for extra in extras),
    }
    for name in set(fields) - {"Name", "Requires-Dist"}:
        assert fields.get_all(name) == slim_fields.get_all(name), name
    assert {name.partition("/")[0] for name in wheel.namelist()} == {
        f"pipy_ai-{pipy_ai.__version__}.dist-info"
    }


def test_distributions_have_the_same_command(distributions: dict[str, zipfile.ZipFile]) -> None:
    command = b"[console_scripts]\npipy = pipy_ai.__main__:main\n"
    plugin = b"\n[pytest11]\npipy = pipy_ai.pytest_plugin\n"
    for name, wheel in distributions.items():
        [path] = [file for file in wheel.namelist() if file.endswith("/entry_points.txt")]
        assert wheel.read(path) == command + (plugin if name == "pipy-ai-slim" else b"")


def test_only_published_distributions_may_be_uploaded(
    distributions: dict[str, zipfile.ZipFile],
) -> None:
    private = "Private :: Do Not Upload"
    assert private in PROJECT["classifiers"]
    for wheel in distributions.values():
        assert private not in (wheel_metadata(wheel)[0].get_all("Classifier") or [])


def test_only_one_file_imports_litellm() -> None:
    imports = re.compile(r"^\s*(?:import|from)\s+litellm|import_module\(\"litellm", re.M)
    found = [
        path.name
        for path in (ROOT / "src").rglob("*.py")
        if imports.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["provider.py"]


def test_wheel_can_carry_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hook = module.SnapshotHook(str(ROOT), {}, None, None, "", "wheel")
    told: dict[str, Any] = {"force_include": {}}
    hook.initialize("standard", told)
    assert told["force_include"] == {}
    source = tmp_path / "api.json"
    source.write_bytes(feeds.raw())
    monkeypatch.setenv("PIPY_SNAPSHOT", str(source))
    hook.initialize("editable", told)
    assert told["force_include"] == {}
    hook.initialize("standard", told)
    for path, inside in told["force_include"].items():
        shutil.copy(path, tmp_path / Path(inside).name)
    monkeypatch.setattr(catalogue, "SNAPSHOT_DIR", str(tmp_path))
    found = catalogue.ModelRegistry(tmp_path / "no files")
    assert (found.date, len(found.rows())) == ("2026-06-30", 5276)
    assert found.get("gpt-5.4") is not None
    newer = tmp_path / "own"
    feeds.install(newer)
    assert catalogue.ModelRegistry(newer).metadata["source"] == "test"  # the newer one wins
    feeds.install(newer, feeds.DAYS[0])
    assert catalogue.ModelRegistry(newer).metadata["source"] == "snapshot of the wheel"
