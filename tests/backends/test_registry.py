"""The registry: one door for built-ins and plug-ins; a probe that survives whatever an engine does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from backends import paths, registry
from backends.echo import EchoBackend, EchoOptions
from backends.errors import NotInstalled
from backends.titles import backend_title


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    def clear() -> None:
        registry._entries.cache_clear()
        registry.find.cache_clear()

    clear()
    yield
    clear()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution installed for this test and its children: backends that misbehave in every way."""
    site = tmp_path / "site"
    info = site / "naughty-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: naughty\nVersion: 1.0\n")
    names = ("hangs", "crashes", "raises", "talks", "counts", "clings")
    lines = [f"{name} = naughty:{name.title()}" for name in names]
    lines += ["broken = naughty_broken:Backend", "alien = naughty:SITE"]
    (info / "entry_points.txt").write_text("[deepseek_tui.backends]\n" + "\n".join(lines) + "\n")
    (site / "naughty_broken.py").write_text("raise OSError('CUDA_HOME is not set')\n")
    (site / "naughty.py").write_text(
        "import os, pathlib, subprocess, sys, time\n"
        "from backends.base import Availability\n"
        "from backends.echo import EchoBackend\n"
        "SITE = pathlib.Path(__file__).parent\n"
        "class Hangs(EchoBackend):\n"
        "    def check(): time.sleep(60)\n"
        "class Clings(EchoBackend):\n"
        "    def check(): subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "class Crashes(EchoBackend):\n"
        "    def check(): os.abort()\n"
        "class Raises(EchoBackend):\n"
        "    def check(): raise RuntimeError('no driver')\n"
        "class Talks(EchoBackend):\n"
        "    def check():\n"
        "        os.system('echo noise')\n"
        "        print('more noise', flush=True)\n"
        "        return Availability(ready=True, version='7')\n"
        "class Counts(EchoBackend):\n"
        "    def check():\n"
        "        count = SITE / 'count'\n"
        "        count.write_text(count.read_text() + 'x' if count.exists() else 'x')\n"
        "        return Availability(ready=os.environ.get('READY') == '1')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    yield
    for name in ("naughty", "naughty_broken"):
        sys.modules.pop(name, None)


def test_built_ins_come_through_the_same_door_as_plug_ins() -> None:
    assert {"echo", "llama_cpp"} <= set(registry.names())
    assert list(registry.names()) == sorted(registry.names())
    assert registry.find("echo") is EchoBackend
    assert registry.options_type("echo") is EchoOptions


def test_listing_the_names_imports_no_backend() -> None:
    code = "import sys; from backends import registry; registry.names(); print([m for m in sys.modules if 'echo' in m])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert child.stdout.strip() == "[]"


def test_an_unknown_name_is_a_typed_error_with_the_nearest_one() -> None:
    with pytest.raises(NotInstalled, match="no backend called 'ehco'") as raised:
        registry.find("ehco")
    assert raised.value.hint == "Did you mean 'echo'?"
    assert "llama_cpp" in raised.value.detail


def test_without_any_backend_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda **_group: ())
    with pytest.raises(NotInstalled, match="none"):
        registry.find("echo")


@pytest.mark.usefixtures("plugin")
def test_a_plug_in_that_cannot_be_imported_or_is_no_backend_is_a_typed_error() -> None:
    with pytest.raises(NotInstalled, match="CUDA_HOME is not set"):
        registry.find("broken")
    with pytest.raises(NotInstalled, match="is not a backend"):
        registry.find("alien")
    assert registry.find("talks").name == "echo"


def test_the_probe_says_that_echo_is_ready() -> None:
    answer = registry.probe("echo")
    assert answer.ready
    assert "continue" in answer.capabilities


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("crashes", "ended with status -6"),
        ("raises", "RuntimeError: no driver"),
        ("broken", "CUDA_HOME is not set"),
        ("never", "no backend called"),
    ],
)
def test_a_probe_that_goes_wrong_is_an_answer(name: str, words: str) -> None:
    answer = registry.probe(name)
    assert not answer.ready
    assert words in answer.detail
    assert answer.hint


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("name", ["hangs", "clings"])
def test_a_probe_that_hangs_or_whose_child_does_is_given_up_in_time(name: str) -> None:
    started = time.monotonic()
    answer = registry.probe(name, timeout_s=0.8)
    assert time.monotonic() - started < 3
    assert not answer.ready
    assert "more than 0.8 s" in answer.detail


@pytest.mark.usefixtures("plugin")
def test_what_an_engine_prints_does_not_spoil_the_answer() -> None:
    answer = registry.probe("talks")
    assert (answer.ready, answer.version) == (True, "7")


@pytest.mark.usefixtures("plugin")
def test_a_ready_answer_is_kept_and_any_other_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = tmp_path / "site" / "count"
    assert [registry.probe("counts").ready for _ in range(2)] == [False, False]
    monkeypatch.setenv("READY", "1")
    assert [registry.probe("counts").ready for _ in range(3)] == [True, True, True]
    assert count.read_text() == "xxx"
    (tmp_path / "site" / "naughty-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: naughty\nVersion: 1.1\n"
    )
    registry._entries.cache_clear()
    registry.probe("counts")
    assert count.read_text() == "xxxx"


@pytest.mark.parametrize("content", [b"", b"{", b'{"x": 1}', b"\xff"])
def test_a_damaged_cache_is_passed_over(content: bytes) -> None:
    cached = paths.cache() / "probes" / "echo.json"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    assert registry.probe("echo").ready
    assert cached.read_bytes() != content


def test_a_cache_folder_that_cannot_be_written_only_costs_time() -> None:
    paths.cache().parent.mkdir(parents=True, exist_ok=True)
    paths.cache().write_text("a file in the way")
    assert registry.probe("echo").ready


def test_an_entry_without_a_distribution_can_be_probed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("bare", "backends.echo:EchoBackend", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_group: (entry,))
    assert os.fspath(registry._cache_file("bare")).endswith("bare.json")
    assert "bare" not in registry._stamp("bare")
    assert registry.find("bare") is EchoBackend


@pytest.mark.usefixtures("plugin")
def test_another_build_of_an_engine_is_asked_again_though_its_version_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "ollama-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ollama\nVersion: 1.0\n")
    count = tmp_path / "site" / "count"
    monkeypatch.setenv("READY", "1")
    for build in ("cpu", "cpu", "cuda", "cuda"):
        (info / "RECORD").write_text(f"engine.so,sha256={build},1\n")
        registry.probe("counts")
    assert count.read_text() == "xx"


def test_every_backend_is_called_by_its_own_title() -> None:
    assert {name: backend_title(name) for name in registry.names()} == {
        name: registry.find(name).title for name in registry.names()
    }
