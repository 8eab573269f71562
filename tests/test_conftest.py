"""The safety nets of the tests hold."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from backends import paths

pytest_plugins = ["pytester"]


def test_every_path_of_ours_is_under_the_tests_own_home(home: Path, tmp_path: Path) -> None:
    assert home.is_relative_to(tmp_path)
    assert all(folder().is_relative_to(home) for folder in (paths.config, paths.data, paths.state, paths.cache))
    assert Path.home().is_relative_to(tmp_path)


def test_the_long_home_is_longer_than_a_sockets_path(long_home: Path) -> None:
    assert len(str(long_home)) >= 150
    assert paths.state().is_relative_to(long_home)


def test_a_connection_that_would_leave_this_machine_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(RuntimeError, match=r"192\.0\.2\.1"):
        sock.connect(("192.0.2.1", 80))


def test_a_name_that_is_not_this_machine_is_not_looked_up() -> None:
    with pytest.raises(RuntimeError, match=r"example\.invalid"):
        socket.getaddrinfo("example.invalid", 80)


def test_loopback_and_unix_sockets_work(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as sock:
        listening.bind(b"\0deepseek-tui-test-" + str(os.getpid()).encode())
        listening.listen()
        sock.connect(listening.getsockname())


def test_a_process_left_behind_fails_its_test_by_name(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(
        """
        import subprocess, sys
        def test_leaves_a_process():
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)  # forgotten"])
        """
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(pytester.path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "left running" in ran.stdout
    assert "forgotten" in ran.stdout


def test_the_starter_model_is_a_gguf(starter_gguf: Path) -> None:
    with starter_gguf.open("rb") as file:
        assert file.read(4) == b"GGUF"
