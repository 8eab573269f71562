"""Starting the user's own Ollama server: only here, only where it is installed, and so that it outlives us."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import NotInstalled, ServerError, ServerUnreachable
from backends.ollama import OllamaBackend, OllamaOptions, serving
from tests.backends.fake_ollama import FakeOllama
from tests.backends.ollama_talk import until

_ROOT = Path(__file__).resolve().parents[2]
_GOOD = f"""#!{sys.executable}
import os, sys
assert sys.argv[1:] == ["serve"], sys.argv
print("serving at", os.environ["OLLAMA_HOST"], flush=True)
open(os.environ["DEEPSEEK_TUI_HOME"] + "/pid", "w").write(str(os.getpid()))
os.chdir({str(_ROOT)!r})
os.execv(sys.executable, [sys.executable, "-m", "tests.backends.fake_ollama", os.environ["OLLAMA_HOST"]])
"""
_BROKEN = "#!/bin/sh\necho 'Error: listen tcp: address already in use'\nexit 3\n"
_MUTE = "#!/bin/sh\necho $$ > $DEEPSEEK_TUI_HOME/pid\nexec sleep 60\n"


@pytest.fixture
def host() -> str:
    """An address of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _end(home: Path) -> Iterator[None]:
    yield
    pid = home / "pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGKILL)
    for child in serving._started:
        child.wait()


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Put a program called ollama on the PATH, and nothing else that is one."""
    target = folder / "bin" / "ollama"
    target.parent.mkdir()
    target.write_text(program)
    target.chmod(0o755)
    monkeypatch.setenv("PATH", f"{target.parent}:/usr/bin:/bin")


def test_a_server_is_started_and_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path, host: str
) -> None:
    install(monkeypatch, tmp_path, _GOOD)
    options = OllamaOptions(host=host)
    before = OllamaBackend.check(options)
    assert not before.ready
    assert before.startable == "ollama serve"
    assert "ollama serve" in before.hint
    OllamaBackend.start(options)
    assert OllamaBackend.check(options).ready
    pid = int((home / "pid").read_text())
    assert os.getsid(pid) == pid, "it must outlive our terminal"
    assert f"serving at {host}" in serving.log().read_text()
    assert serving.log().stat().st_mode & 0o077 == 0


def test_a_server_that_answers_is_not_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, _BROKEN)
    with FakeOllama() as server:
        serving.serve(server.url)


def test_a_server_that_ends_at_once_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str) -> None:
    install(monkeypatch, tmp_path, _BROKEN)
    with pytest.raises(ServerError) as caught:
        serving.serve(host)
    assert "address already in use" in caught.value.detail
    assert "status 3" in caught.value.detail
    assert str(serving.log()) in caught.value.hint


def test_a_server_that_does_not_come_up_in_time_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path, host: str
) -> None:
    install(monkeypatch, tmp_path, _MUTE)
    with pytest.raises(ServerUnreachable) as caught:
        serving.serve(host, timeout_s=0.5)
    assert host in caught.value.detail
    assert until((home / "pid").exists)


def test_without_the_program_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert serving.can_serve(host) is None
    with pytest.raises(NotInstalled) as caught:
        serving.serve(host)
    assert "Install" in caught.value.hint


def test_a_program_that_cannot_be_run_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str) -> None:
    install(monkeypatch, tmp_path, "#!/no/such/interpreter\n")
    with pytest.raises(ServerError):
        serving.serve(host)


def test_nothing_is_started_for_a_server_on_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, _GOOD)
    monkeypatch.setattr(serving, "answers", lambda _url: False)
    assert serving.can_serve("http://gpu.example:11434") is None
    with pytest.raises(ServerUnreachable) as caught:
        serving.serve("http://gpu.example:11434")
    assert "gpu.example" in caught.value.hint
