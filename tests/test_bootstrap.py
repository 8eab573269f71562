"""The set-up on a bare machine: what it says, what it chooses, and that it survives being killed."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pexpect
import pytest

from tools import bootstrap, checks, environment, installer, nvidia
from tools.environment import Environment, Stamp
from tools.say import Trouble

ROOT = Path(__file__).resolve().parent.parent


def copy_checkout(to: Path) -> Path:
    """A copy of what the set-up reads, without environment and caches."""
    to.mkdir()
    for name in ("pyproject.toml", "constraints.txt", "Makefile", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, to / name)
    for name in ("tools", "tui", "presets", "backends"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def offline() -> dict[str, str]:
    return {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}


# The first lines


def test_the_set_up_itself_needs_no_package() -> None:
    code = "import tools.bootstrap, tools.installer, tools.checks, tools.nvidia"
    subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=True, timeout=60)


def test_an_old_python_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "REQUIRED", (99, 0))
    assert bootstrap.main() == 1
    said = capsys.readouterr().err
    assert "needs Python 3.11" in said
    assert "make run PYTHON=python3.11" in said


def test_an_old_python_can_read_the_first_file() -> None:
    ast.parse((ROOT / "tools" / "bootstrap.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_the_set_up_needs_nothing_but_the_standard_library() -> None:
    code = "import sys; sys.path.insert(0, '.'); from tools import installer; print(installer.ROOT)"
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert child.returncode == 0, child.stderr


def test_a_missing_venv_module_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find_spec(name))
    with pytest.raises(Trouble, match="apt install python3-venv"):
        checks.require_venv()


def test_a_missing_compiler_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Trouble, match="apt install g"):
        checks.require_build_tools(tmp_path)


def test_a_full_disk_is_noticed_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "ROOM_TO_BUILD", 10**18)
    with pytest.raises(Trouble, match="Too little disk space"):
        checks.require_build_tools(tmp_path)


# The driver


@pytest.fixture
def nvml(tmp_path: Path) -> Path:
    """A real shared library that answers as the driver for CUDA 12.4 with one card does."""
    source = tmp_path / "nvml.c"
    source.write_text(
        """
        #include <string.h>
        int nvmlInit_v2(void) { return 0; }
        int nvmlShutdown(void) { return 0; }
        int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12040; return 0; }
        int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
        int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &nvmlShutdown; return 0; }
        int nvmlDeviceGetName(void *device, char *name, unsigned size) { strncpy(name, "RTX 3070", size); return 0; }
        """
    )
    library = tmp_path / "libnvidia-ml.so.1"
    compiler = shutil.which("cc") or shutil.which("gcc") or checks.find_compiler()
    assert compiler, "a bare machine has a compiler"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def test_the_driver_is_asked_for_its_cuda_version_and_cards(nvml: Path, tmp_path: Path) -> None:
    assert nvidia.find_driver(str(nvml), tmp_path / "none") == nvidia.Driver((12, 4), ("RTX 3070",))


def test_without_nvml_the_kernels_file_still_proves_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    version = tmp_path / "version"
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n")
    assert nvidia.find_driver("libno-such-nvml.so.1", version) == nvidia.Driver(None)


def test_without_nvml_nvidia_smi_tells_the_cuda_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho '| Driver Version: 580.65.06   CUDA Version: 13.0 |'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert nvidia.find_driver("libno-such-nvml.so.1", tmp_path / "none") == nvidia.Driver((13, 0))


def test_a_machine_without_a_card_has_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nvidia, "WSL", tmp_path)
    assert nvidia.find_driver("libno-such-nvml.so.1", tmp_path / "none") is None


# The environment


def made(root: Path, *, pip: bool = False) -> Environment:
    env = Environment(root)
    command = [sys.executable, "-m", "venv", *(() if pip else ("--without-pip",)), str(env.folder)]
    subprocess.run(command, check=True)
    return env


def test_an_environment_is_absent_then_usable_once_stamped(tmp_path: Path) -> None:
    assert environment.judge(Environment(tmp_path), None) == "absent"
    env = made(tmp_path)
    stamp = Stamp("key", str(tmp_path), test=False)
    environment.write_stamp(env, stamp)
    assert environment.read_stamp(env) == stamp
    assert environment.judge(env, stamp) == "usable"


def test_an_environment_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    env = made(tmp_path / "old")
    environment.write_stamp(env, Stamp("key", str(env.root), test=False))
    moved = Environment((tmp_path / "old").rename(tmp_path / "new"))
    assert environment.judge(moved, environment.read_stamp(moved)) == "broken"


def test_an_environment_whose_python_vanished_is_made_anew(tmp_path: Path) -> None:
    env = made(tmp_path)
    (env.folder / "bin" / "python").unlink()
    (env.folder / "bin" / "python").symlink_to(tmp_path / "gone")
    assert environment.judge(env, None) == "broken"
    environment.begin(env, "broken")
    assert environment.judge(env, None) == "broken", "unfinished until it is stamped"
    environment.write_stamp(env, Stamp("key", str(tmp_path), test=False))
    assert environment.judge(env, environment.read_stamp(env)) == "usable"


def test_a_file_in_the_environments_place_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".venv").write_text("not a folder")
    env = Environment(tmp_path)
    assert environment.judge(env, None) == "broken"
    environment.begin(env, "broken")
    assert env.python.exists()


def test_an_unreadable_stamp_counts_as_none(tmp_path: Path) -> None:
    env = made(tmp_path)
    for text in ("", "{", '{"key": 1}', "[]"):
        env.stamp_file.write_text(text)
        assert environment.read_stamp(env) is None


def test_the_key_follows_the_files_that_decide_what_is_installed(tmp_path: Path) -> None:
    root = copy_checkout(tmp_path / "checkout")
    before = environment.source_key(root, "no driver")
    assert environment.source_key(root, "no driver") == before
    assert environment.source_key(root, "a driver") != before
    with (root / "constraints.txt").open("a") as file:
        file.write("\n# changed\n")
    assert environment.source_key(root, "no driver") != before


def test_a_finished_set_up_is_instant_and_repeats_its_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_checkout(tmp_path / "checkout")
    env = made(root)
    (env.folder / "bin" / "deepseek-tui").touch()
    key = environment.source_key(root, nvidia.fingerprint())
    environment.write_stamp(env, Stamp(key, str(root), test=False, warning="runs on the processor only"))
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "tools.bootstrap"], cwd=root, check=False, env=offline())
    assert done.returncode == 0
    assert time.monotonic() - started < 2
    assert "runs on the processor only" in capfd.readouterr().err


def test_without_network_the_set_up_says_so_and_where_the_log_is(tmp_path: Path, home: Path) -> None:
    root = copy_checkout(tmp_path / "checkout")
    command = [sys.executable, "-m", "tools.bootstrap"]
    first = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=offline())
    assert first.returncode == 1
    assert "Installing packages failed" in first.stderr
    assert "the network" in first.stderr
    log = re.search(r"the whole log: (\S+)", first.stderr)
    assert log
    assert "ERROR" in Path(log[1]).read_text()
    assert "Traceback" not in first.stderr


def test_a_set_up_killed_in_the_middle_is_begun_anew(tmp_path: Path) -> None:
    root = copy_checkout(tmp_path / "checkout")
    command = [sys.executable, "-m", "tools.bootstrap"]
    running = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, env=offline(), start_new_session=True)
    unfinished = Environment(root).unfinished
    deadline = time.monotonic() + 30
    while not unfinished.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=offline())
    assert ".venv anew" in again.stdout
    assert (root / ".venv" / "bin" / "pip").exists()


# What is installed


def test_every_dependency_is_pinned_exactly() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row and not row.startswith("#")]
    assert [row for row in rows if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", row)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"], *installer.BUILD_TOOLS]
    names = {re.split(r"[^\w-]", name)[0].lower() for name in (*wanted, installer.STARTER, "pip", "scikit-build-core")}
    assert names - {row.partition("==")[0] for row in rows} == set()


def test_the_engine_is_left_to_its_own_ways() -> None:
    plain, test = (installer.requirements(ROOT, test=flag) for flag in (False, True))
    assert not any(name.startswith("llama") for name in test)
    assert any(name.startswith("pytest") for name in test)
    assert not any(name.startswith("pytest") for name in plain)


def test_the_package_holds_its_data_and_its_entry_points_and_no_tests(tmp_path: Path) -> None:
    root = copy_checkout(tmp_path / "checkout")
    for name in ("tui/screens/example.tcss", "presets/builtin/example.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    shutil.copytree(ROOT / "tests", root / "tests", ignore=shutil.ignore_patterns("__pycache__", "__snapshots__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    sources = [p for package in ("tui", "presets", "backends") for p in (root / package).rglob("*") if p.is_file()]
    assert {str(path.relative_to(root)) for path in sources} - names == set()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"tui", "presets", "backends", "deepseek_tui"}
    assert "deepseek-tui = tui.__main__:main" in entry_points
    assert "llama_cpp = backends.llama_cpp:LlamaCppBackend" in entry_points


# The commands


@pytest.fixture
def set_up_checkout(tmp_path: Path) -> Path:
    """A Makefile whose set-up is done and whose application prints what it was called with."""
    root = tmp_path / "checkout"
    (root / "tools").mkdir(parents=True)
    (root / "tools" / "bootstrap.py").write_text("")
    shutil.copy(ROOT / "Makefile", root)
    application = root / ".venv" / "bin" / "deepseek-tui"
    application.parent.mkdir(parents=True)
    application.write_text('#!/bin/sh\nprintf "called:"; printf " <%s>" "$@"; echo\n')
    application.chmod(0o755)
    return root


def test_make_run_without_a_terminal_answers_one_question(set_up_checkout: Path) -> None:
    said = subprocess.run(["make", "run"], cwd=set_up_checkout, capture_output=True, text=True, check=True, input="")
    assert re.search(r"called: <ask> <-p> <starter> <In one sentence.*\?>", said.stdout)


def test_make_run_on_a_terminal_opens_the_chat(set_up_checkout: Path) -> None:
    terminal = pexpect.spawn("make", ["run"], cwd=str(set_up_checkout), timeout=30)
    terminal.expect_exact("called: <-p> <starter>\r\n")
    terminal.expect(pexpect.EOF)


def test_make_alone_lists_the_commands() -> None:
    said = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    assert {"run", "test", "lint", "bench", "clean", "help"} <= set(re.findall(r"make ([a-z-]+) ", said))
