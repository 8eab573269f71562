"""The house is in order: who may import what, how large a file may be, what may not stand in it."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tui", "presets", "backends")
FLOORS = {
    "tui", "presets", "backends", "tests", "tools", ".ci", ".git", ".gitignore", "Makefile", "README.md",
    "README.zh.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "constraints.txt", "docs",
}  # fmt: skip
ENGINES = {
    "llama_cpp", "exllamav2", "exllamav3", "torch", "numpy", "ollama", "httpx", "requests", "urllib3",
    "huggingface_hub", "pydantic",
}  # fmt: skip
# Names of package hosts and folders of one machine. The brackets keep this file from finding itself.
FORBIDDEN = re.compile(r"pypi[.]org|pythonhosted[.]org|anaconda[.]org|(?<![\w.])/work[/]|/root[/]|/home[/](?!user\b)")
MAX_LINES = 400


def own_files(*suffixes: str) -> list[Path]:
    """Every text file of the checkout that is kept in version control."""
    folders = [ROOT / name for name in (*PACKAGES, "tests", "tools", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    skipped = {"__pycache__", "__snapshots__", "snapshot_report.html"}
    return sorted(p for p in files if not skipped & set(p.parts) and (not suffixes or p.suffix in suffixes))


def modules(package: str) -> list[str]:
    """Dotted names of all modules of a package, without the `__main__` that would start something."""
    names = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__main__":
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def loaded_by(names: list[str]) -> set[str]:
    """Top-level names in sys.modules of a fresh Python that imported `names`."""
    code = (
        "import importlib, json, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert child.returncode == 0, child.stderr
    return set(json.loads(child.stdout.splitlines()[-1]))


def test_the_screen_imports_no_engine_no_http_client_and_no_pydantic() -> None:
    assert loaded_by(modules("tui")) & (ENGINES | {"jinja2"}) == set()


@pytest.mark.parametrize("package", ["presets", "backends"])
def test_no_engine_is_imported_before_it_is_asked_for(package: str) -> None:
    assert loaded_by(modules(package)) & ENGINES == set()


def test_the_chat_core_and_the_presets_import_no_screen() -> None:
    names = [name for name in modules("tui") if name.startswith("tui.chat")] + modules("presets") + modules("backends")
    assert loaded_by(names) & {"textual", "rich"} == set()


def test_the_probe_of_imports_would_notice_an_engine() -> None:
    assert "numpy" in loaded_by(["numpy"])


@pytest.mark.parametrize("path", own_files(".py", ".tcss"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", own_files(".py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_file_names_a_package_host_or_a_folder_of_one_machine() -> None:
    found = []
    for path in own_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in FORBIDDEN.finditer(text)]
    assert found == []


def test_the_root_holds_only_what_the_design_names() -> None:
    ignored = [row.rstrip("/") for row in (ROOT / ".gitignore").read_text(encoding="utf-8").split()]
    found = {path.name for path in ROOT.iterdir()}
    strangers = {n for n in found - FLOORS if not any(fnmatch.fnmatch(n, pattern) for pattern in ignored)}
    assert strangers == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_with_code_is_a_package(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
