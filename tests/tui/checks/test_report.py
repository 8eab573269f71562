"""`doctor --report`: what strangers may read, whatever is planted on the machine."""

from __future__ import annotations

import contextlib
import socket
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import paths
from backends.hardware.disk import Disk
from backends.hardware.machine import Machine
from backends.host.launch import HostView
from backends.host.wire import Welcome
from presets.catalog import load_catalog
from presets.machine_files import from_toml
from tests.tui.checks.conftest import Made
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked
from tui.checks import installation, models
from tui.checks.check import Check
from tui.checks.ground import Ground
from tui.checks.logs import host_logs, shown_line
from tui.checks.report import HEAD, report

PLACES = (
    "key", "host", "user", "home", "machine", "token", "preset", "title", "model", "server", "chat", "log", "disk",
    "theme",
    "folder",
)  # fmt: skip


def plant(secret: dict[str, str], folder: Path, patch: pytest.MonkeyPatch) -> Ground:
    """Put a secret of its own in every place where one may be; return the machine."""
    patch.setenv("DEEPSEEK_TUI_HOME", str(folder / f"my {secret['folder']}"))
    patch.setenv("HOME", str(folder / secret["home"]))
    patch.setenv("USER", secret["user"])
    patch.setenv("HOSTNAME", secret["machine"])
    patch.setattr(socket, "gethostname", lambda: f"{secret['machine']}.lan")
    patch.setenv("HF_TOKEN", secret["token"])
    patch.setenv("OLLAMA_HOST", f"{secret['server']}:11434")
    table = {
        "theme": secret["theme"],
        "preset": secret["preset"],
        "origins": {f"https://{secret['host']}:8000": {"key": secret["key"]}},
    }
    paths.private(paths.config())
    (paths.config() / "config.toml").write_text(tomli_w.dumps(table))
    own = {
        "title": secret["title"],
        "extends": "8b-q4_k_m",
        "backends": {"llama_cpp": {"source": f"file:/mnt/{secret['model']}.gguf"}},
    }
    paths.private(paths.user_presets())
    (paths.user_presets() / f"{secret['preset']}.toml").write_text(tomli_w.dumps(own))
    with contextlib.closing(Store()) as store:
        store.begin("a1", Asked("starter", "llama_cpp", "m"), f"{secret['chat']}?")
    log = paths.private(paths.hosts() / "0123") / "log"
    said = (
        f"llama_model_load: error loading model: /mnt/{secret['model']}.gguf",
        f"what was asked: {secret['log']}",
        f"ggml_cuda: {secret['key']} and {secret['token']} came with it",
        f"load_model: failed in {paths.data()}",
        f"ggml_cuda: request from '{secret['log']}'",
        f"ValueError: bad prompt {secret['chat']}",
        f"CUDA error: out of memory for Bearer {secret['token']} of {secret['user']}@{secret['machine']}",
    )
    log.write_text("\n".join(said))
    host = HostView("0123", log.parent, 4242, Welcome(1, "old", 4242, "0123", "llama_cpp", "m", secret["title"]), None)
    disk = Disk("network", f"{secret['disk']}:/{secret['user']}", file_system="nfs4", note=f"{secret['home']} is full")
    return Ground(folder, folder, Machine(disk=disk), catalog=load_catalog(), hosts=(host,))


def found(ground: Ground) -> Iterator[Check]:
    yield from installation.folders()
    yield from installation.database()
    yield from installation.settings()
    yield from models.presets(ground.catalog)
    yield from models.hosts(ground.hosts)


WORD = st.text(string.ascii_lowercase, min_size=8, max_size=16)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORD, min_size=len(PLACES), max_size=len(PLACES), unique=True), number=st.integers(0, 9))
def test_no_secret_leaves_from_wherever_it_is(
    words: list[str], number: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = {place: f"{word}{number}" for place, word in zip(PLACES, words, strict=True)}
    with pytest.MonkeyPatch.context() as patch:
        ground = plant(secret, tmp_path_factory.mktemp("m"), patch)
        text = report(ground, list(found(ground))).casefold()
    assert {place: word for place, word in secret.items() if word in text} == {}


def test_the_report_holds_what_a_developer_asks_for(ground: Made) -> None:
    text = report(ground(), [Check("swap", "warn", "2 GB", public="")])
    assert text.startswith(HEAD)
    for part in ("## Versions", "SQLite ", "llama-cpp-python ", "warn  swap: 2 GB", "presets: 8b-q4_k_m, ", "## Logs"):
        assert part in text
    assert from_toml(text.partition("## Machine\n")[2].partition("\n## Logs")[0]) == Machine()


def test_settings_are_told_only_as_far_as_they_say_nothing_of_a_person(home: Path, ground: Made) -> None:
    (home / "config").mkdir(parents=True)
    table = {"keep_alive_s": 60.0, "preset": "starter", "theme": "mine", "bill": {"price_per_kwh": 0.31}}
    (home / "config/config.toml").write_text(tomli_w.dumps(table))
    text = report(ground(), [])
    assert "preset: starter\nkeep_alive_s: 60\ntheme: another than the default\nbill: price_per_kwh\n" in text
    (home / "config/config.toml").write_text("nonsense")
    assert "the settings cannot be read" in report(ground(), [])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("ggml_cuda_init: found 1 CUDA devices:", "ggml_cuda_init: found 1 CUDA devices:"),
        ("llama_kv_cache: size = 816.00 MiB", "llama_kv_cache: size = 816.00 MiB"),
        ("CUDA error: out of memory", "CUDA error: out of memory"),
        ("Traceback (most recent call last):", "Traceback:"),
        ('  File "/srv/ann/backends/host/engine.py", line 12, in load', "at backends/host/engine.py:12 in load"),
        ("    secret = read('my diary')", ""),
        ("ValueError: my diary", "ValueError"),
        (
            "OSError: libcudart.so.12: cannot open shared object file",
            "OSError: libcudart.so.12 cannot open shared object file",
        ),
        ("llama_model_loader: - kv   1: general.name str = Ann's", ""),
        ("load_model: 'my diary.gguf' is bad", "load_model: '…' is bad"),
        ("Dear diary, today", ""),
    ],
)
def test_a_line_of_a_log_is_kept_by_what_it_is(line: str, shown: str) -> None:
    assert shown_line(line) == shown


def test_of_a_long_log_the_end_is_kept_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "0123"
    folder.mkdir()
    lines = [f"ggml_step: {number}" for number in range(100)]
    (folder / "log").write_text("\n".join(["Dear diary", *lines]) + "\n")
    told = host_logs(tmp_path)
    assert told[0] == "host 1: 101 lines, 81 of them left out"
    assert told[1:] == [f"  ggml_step: {number}" for number in range(80, 100)]
    assert host_logs(tmp_path / "none") == []
