"""Control groups of the kernel for one child: less memory than a model has, and a disk of a known speed.

Version 1 and 2 are used as they are mounted. A group stands at the root of its hierarchy, only ever limits more than
what was there, holds only the child that was made for it, and goes with it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

_ROOT = Path("/sys/fs/cgroup")
_MEMORY_1, _BLOCK_1 = _ROOT / "memory", _ROOT / "blkio"
_GONE_S = 10.0


class Group(msgspec.Struct, frozen=True):
    """A group that limits a child. `memory` and `disk` are its folders; of version 2 both are the same one."""

    memory: Path
    disk: Path | None
    version: int

    def popen(self, command: Sequence[str], env: Mapping[str, str] | None = None, **options: object) -> _Popen:
        """Start a command that is in the group before its first instruction."""
        joins = [str(folder / "cgroup.procs") for folder in dict.fromkeys((self.memory, self.disk)) if folder]
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [sys.executable, "-c", _JOIN, str(len(joins)), *joins, *command], env=env, **options
        )

    def enter(self, pid: int) -> None:
        """Move a process into the group. What it has in memory already stays charged where it is."""
        for folder in dict.fromkeys((self.memory, self.disk)):
            if folder:
                (folder / "cgroup.procs").write_text(str(pid))

    def limit(self, memory_bytes: int) -> None:
        """Set another limit; the kernel takes away what is above it."""
        name = "memory.limit_in_bytes" if self.version == 1 else "memory.max"
        (self.memory / name).write_text(str(memory_bytes))

    def statistic(self, name: str) -> int:
        """Return a figure of memory.stat, 0 if the kernel has none of that name."""
        for line in (self.memory / "memory.stat").read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
        return 0


_Popen = subprocess.Popen  # type: ignore[type-arg]
_JOIN = """
import os, sys
count = int(sys.argv[1])
for path in sys.argv[2 : 2 + count]:
    with open(path, "w") as file:
        file.write(str(os.getpid()))
os.execvp(sys.argv[2 + count], sys.argv[2 + count :])
"""


class NoGroup(Exception):
    """No group can be made here; the text says why."""


@contextlib.contextmanager
def group(memory_bytes: int, read_bytes_per_s: int | None = None, on: Path | None = None) -> Iterator[Group]:
    """Make a group with so much memory and, for the disk that holds `on`, so much reading. Raises NoGroup.

    Whoever is still in it at the end is killed.
    """
    name = f"deepseek-tui-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    made: list[Path] = []
    try:
        yield _made(name, memory_bytes, read_bytes_per_s, on, made)
    finally:
        for folder in reversed(made):
            _remove(folder)


def _made(name: str, memory_bytes: int, rate: int | None, on: Path | None, made: list[Path]) -> Group:
    device = device_of(on) if rate is not None and on is not None else None
    try:
        if (_MEMORY_1 / "memory.limit_in_bytes").exists():
            memory = _folder(_MEMORY_1 / name, made)
            found = Group(memory, _folder(_BLOCK_1 / name, made) if device else None, 1)
            found.limit(memory_bytes)
            if device and found.disk:
                (found.disk / "blkio.throttle.read_bps_device").write_text(f"{device} {rate}")
            return found
        controllers = (_ROOT / "cgroup.subtree_control").read_text().split()
        if "memory" not in controllers or (device and "io" not in controllers):
            raise NoGroup(f"the controllers of {_ROOT} are: {' '.join(controllers) or 'none'}")
        folder = _folder(_ROOT / name, made)
        found = Group(folder, folder if device else None, 2)
        found.limit(memory_bytes)
        (folder / "memory.swap.max").write_text("0")
        if device:
            (folder / "io.max").write_text(f"{device} rbps={rate}")
        return found
    except OSError as error:
        raise NoGroup(f"no group can be made: {error}") from error


def device_of(path: Path) -> str:
    """Return the numbers of the whole disk that holds a path, as the kernel's limits want them. Raises NoGroup."""
    number = path.stat().st_dev
    link = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if not link.exists():
        raise NoGroup(f"{path} is on no disk")
    whole = link.resolve()
    if (whole / "partition").exists():
        whole = whole.parent
    return (whole / "dev").read_text().strip()


def _folder(folder: Path, made: list[Path]) -> Path:
    folder.mkdir()
    made.append(folder)
    return folder


def _remove(folder: Path) -> None:
    end = time.monotonic() + _GONE_S
    while True:
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def slow_disk(folder: Path, size: int, read_ahead_kb: int = 128) -> Iterator[Path]:
    """Mount a file system of `size` bytes on a loop device that reads ahead like an ordinary disk; yield its folder.

    Raises NoGroup where that cannot be done, which needs root.
    """
    image, mount = folder / "disk.img", folder / "disk"
    mount.mkdir()
    device = ""
    try:
        with image.open("wb") as file:
            file.truncate(size)
        _run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(image))
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        kernel = Path("/sys/block") / Path(device).name / "queue"
        (kernel / "read_ahead_kb").write_text(str(read_ahead_kb))
        _run("mount", device, str(mount))
        try:
            yield mount
        finally:
            _run("umount", "--lazy", str(mount))
    finally:
        if device:
            subprocess.run(["losetup", "--detach", device], check=False)
        image.unlink(missing_ok=True)


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise NoGroup(f"{command[0]} cannot be used: {detail}") from error
