"""Running the command line as a person does: a real process, presets of the echo backend, a home of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w

from backends import remembered
from backends.hardware import bandwidth
from backends.hardware.disk import disk_under
from backends.hardware.read_speed import ReadSpeed, remember

COMMAND = (sys.executable, "-P", "-m", "tui")


class Ran(msgspec.Struct, frozen=True):
    """What a command left: its exit status and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects of an `ask --json`."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]
Start = Callable[..., "subprocess.Popen[bytes]"]
Write = Callable[..., Path]


@pytest.fixture
def measured(home: Path) -> None:
    """A machine that was measured before, so that no command takes six seconds for that."""
    remembered.write(bandwidth._KIND, bandwidth._key(Path("/")), 20_000_000_000)
    remember(disk_under(home), ReadSpeed(500_000_000))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("ask", "hi", stdin=b"…")` runs the command to its end, without a terminal."""

    def call(*arguments: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> Ran:
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            **given,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start("ask", "hi")` begins a command and returns its process; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def call(*arguments: str, **given: Any) -> subprocess.Popen[bytes]:
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": tmp_path}
        process = subprocess.Popen([*COMMAND, *arguments], **(options | given))
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def preset(home: Path) -> Write:
    """`preset("slow", tokens_per_second=5)` writes a preset of the echo backend; its model goes soon after its use."""

    def write(name: str = "echo", *, keep_alive_s: float = 0.05, sampling: Any = None, **options: Any) -> Path:
        folder = home / "config" / "presets"
        folder.mkdir(parents=True, exist_ok=True)
        table = {
            "title": name.capitalize(),
            "backend": "echo",
            "keep_alive_s": keep_alive_s,
            "model": {"family": "echo", "quantization": "none"},
            "sampling": sampling or {},
            "backends": {"echo": {"source": f"server:{re.sub('[^a-z]', '', name)}", **options}},
        }
        path = folder / f"{name}.toml"
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
        return path

    return write


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """`wait_until(lambda: …)` polls until it is true, ten seconds at most."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.05)

    return wait
