"""Plug-ins as strangers install them: with pip, from a folder, into an environment of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "plugin_example"
PRESET = (
    'title = "ELIZA"\nbackend = "eliza"\n[model]\nfamily = "DOCTOR"\nquantization = "none"\nreasoning = "none"\n'
    '[backends.eliza]\nsource = "server:doctor"\nwords_per_second = 0\n'
)
BROKEN = {
    "raises": "raise OSError('CUDA_HOME is not set')",
    "exits": "import sys; sys.exit(3)",
    "noisy": "import os; os.system('echo noise'); print('noise'); raise RuntimeError('after the noise')",
    "no_class": "Thing = 5",
    "dies": "import os; os.abort()",
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def install(tmp_path: Path) -> Callable[[Path], None]:
    """Install a package from its folder as pip does, where only this test's processes look."""

    def install(source: Path) -> None:
        copy = tmp_path / "source" / source.name
        shutil.copytree(source, copy)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
        subprocess.run([*command, "--target", str(tmp_path / "site"), str(copy)], check=True, timeout=120)

    return install


@pytest.fixture
def run(tmp_path: Path, home: Path) -> Run:
    """Run the program, or Python, where the plug-ins are installed."""

    def run(*arguments: str, module: str = "tui") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
        command = [sys.executable, "-P", "-m", module, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=100, cwd=tmp_path
        )

    return run


@pytest.fixture
def broken(tmp_path: Path, install: Callable[[Path], None]) -> None:
    """A package with backends that cannot be imported, each in its own way, and one that calls itself echo."""
    source = tmp_path / "sick"
    source.mkdir()
    points = "".join(f'{name} = "sick_{name}:Thing"\n' for name in BROKEN)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "sick"\nversion = "1"\n'
        f'[project.entry-points."deepseek_tui.backends"]\n{points}echo = "sick_no_class:Thing"\n'
        '[tool.hatch.build.targets.wheel]\ninclude = ["*.py"]\n'
    )
    for name, code in BROKEN.items():
        (source / f"sick_{name}.py").write_text(code + "\n")
    install(source)


def own_preset(home: Path, name: str, text: str) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(text)


def test_the_example_is_listed_with_its_package_and_its_options(install, run: Run) -> None:
    install(EXAMPLE)

    listed = json.loads(run("backends", "--json").stdout)["backends"]
    eliza = next(row for row in listed if row["name"] == "eliza")
    shown = json.loads(run("backends", "show", "eliza", "--json").stdout)

    assert (eliza["title"], eliza["package"], eliza["plugin"], eliza["ready"]) == (
        "ELIZA",
        "deepseek-tui-eliza",
        True,
        True,
    )
    assert [(row["key"], row["default"]) for row in shown["options"]] == [("context", 2048), ("words_per_second", 20.0)]


def test_the_example_answers_through_a_preset_in_a_host_process(install, run: Run, home: Path) -> None:
    install(EXAMPLE)
    own_preset(home, "eliza", PRESET)

    asked = run("ask", "-p", "eliza", "I am tired of my computer.")
    run("stop", "--force")

    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("How long have you been tired of your computer")


def test_a_mistake_in_a_plug_ins_options_is_found_by_presets_check(install, run: Run, home: Path) -> None:
    install(EXAMPLE)
    own_preset(home, "eliza", PRESET + "words_per_secnod = 3\n")

    checked = run("presets", "check")

    assert checked.returncode == 1
    assert "words_per_secnod" in checked.stdout + checked.stderr
    assert "words_per_second" in checked.stdout + checked.stderr


def test_the_examples_own_tests_pass_where_it_is_installed(install, run: Run, tmp_path: Path) -> None:
    install(EXAMPLE)

    tested = run("-q", "-p", "no:cacheprovider", str(tmp_path / "source" / EXAMPLE.name / "tests"), module="pytest")

    assert tested.returncode == 0, tested.stdout[-3000:]
    assert "passed" in tested.stdout
    assert "failed" not in tested.stdout


@pytest.mark.usefixtures("broken")
def test_plug_ins_that_cannot_be_imported_are_shown_as_such(run: Run) -> None:
    done = run("backends", "--json")

    rows = {row["name"]: row for row in json.loads(done.stdout)["backends"]}
    assert "CUDA_HOME is not set" in rows["raises"]["detail"]
    assert "SystemExit: 3" in rows["exits"]["detail"]
    assert "after the noise" in rows["noisy"]["detail"]
    assert "is not a backend" in rows["no_class"]["detail"]
    assert "status -6" in rows["dies"]["detail"]
    assert not any(rows[name]["ready"] for name in BROKEN)
    assert all(rows[name]["hint"] for name in BROKEN)


@pytest.mark.usefixtures("broken")
def test_broken_plug_ins_harm_nothing_else(run: Run, home: Path) -> None:
    for name in BROKEN:
        own_preset(home, f"sick-{name}", PRESET.replace("eliza", name))
    own_preset(home, "demo", PRESET.replace("eliza", "echo").replace("words_per_second = 0\n", ""))

    asked = run("ask", "-p", "demo", "still here?")
    doctor = run("doctor", "--json")
    presets = run("presets", "--json")
    run("stop", "--force")

    assert asked.stdout.strip() == "still here?", asked.stderr
    assert {check["name"] for check in json.loads(doctor.stdout)["checks"]} >= {"backend: raises", "backend: dies"}
    assert {row["name"] for row in json.loads(presets.stdout)["presets"]} >= {"demo", "sick-dies"}


@pytest.mark.usefixtures("broken")
def test_no_plug_in_takes_the_place_of_a_built_in(run: Run) -> None:
    rows = {row["name"]: row for row in json.loads(run("backends", "--json").stdout)["backends"]}
    assert (rows["echo"]["package"], rows["echo"]["hides"]) == ("deepseek-tui", ["sick"])
    assert rows["echo"]["ready"]
    assert "the one of sick has the same name and is not used" in run("backends").stdout


@pytest.mark.usefixtures("broken")
def test_asking_a_broken_plug_in_says_what_is_wrong(run: Run, home: Path) -> None:
    own_preset(home, "sick", PRESET.replace("eliza", "raises"))

    asked = run("ask", "-p", "sick", "hello?")

    assert asked.returncode == 1
    assert "CUDA_HOME is not set" in asked.stderr
    assert "Reinstall or remove" in asked.stderr


@pytest.mark.usefixtures("broken")
def test_one_that_kills_its_process_does_not_kill_ours(run: Run, home: Path) -> None:
    own_preset(home, "sick", PRESET.replace("eliza", "dies"))

    for command in (["ask", "-p", "sick", "hello?"], ["presets", "check"], ["backends", "show", "dies"]):
        done = run(*command)
        assert done.returncode in {0, 1}, (command, done)
        said = done.stdout + done.stderr
        assert "cannot be imported" in said or "status -6" in said, (command, done)
