"""Control groups of the kernel for one child: less memory than a model has, and a disk of a known speed.

Version 1 and 2 are used as they are mounted. A group stands at the root of its hierarchy, only ever limits more than
what was there, holds only the child that was made for it, and goes with it. So do loop devices and what is mounted:
whoever clears up is a process of its own, that does so as well where the tests are killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

_ROOT = Path("/sys/fs/cgroup")
_MEMORY_1, _BLOCK_1 = _ROOT / "memory", _ROOT / "blkio"
_GONE_S = 10.0


class Group(msgspec.Struct, frozen=True):
    """A group that limits a child. `memory` and `disk` are its folders; of version 2 both are the same one."""

    memory: Path
    disk: Path | None
    version: int

    @contextlib.contextmanager
    def popen(self, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Iterator[_Popen]:
        """Start a command that is in the group before its first instruction, and wait for its end.

        Where the block ends with an error nobody waits: it is killed.
        """
        joins = [str(folder / "cgroup.procs") for folder in dict.fromkeys((self.memory, self.disk)) if folder]
        joining = [sys.executable, "-c", _JOIN, str(len(joins)), *joins, *command]
        with subprocess.Popen(joining, env=env, **options) as child:
            try:
                yield child
            except BaseException:
                child.kill()
                raise

    def enter(self, pid: int) -> None:
        """Move a process into the group. What it has in memory already stays charged where it is."""
        for folder in dict.fromkeys((self.memory, self.disk)):
            if folder:
                (folder / "cgroup.procs").write_text(str(pid))

    def limit(self, memory_bytes: int) -> None:
        """Set another limit; the kernel takes away what is above it, however often that takes."""
        name = "memory.limit_in_bytes" if self.version == 1 else "memory.max"
        end = time.monotonic() + _GONE_S
        while True:
            try:
                (self.memory / name).write_text(str(memory_bytes))
            except OSError as error:
                # Version 1 gives up while pages are in use faster than it takes them.
                if error.errno != errno.EBUSY or time.monotonic() > end:
                    raise
                time.sleep(0.1)
            else:
                return

    def statistic(self, name: str) -> int:
        """Return a figure of memory.stat, 0 if the kernel has none of that name."""
        for line in (self.memory / "memory.stat").read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
        return 0


_Popen = subprocess.Popen[Any]
_JOIN = """
import os, sys
count = int(sys.argv[1])
for path in sys.argv[2 : 2 + count]:
    with open(path, "w") as file:
        file.write(str(os.getpid()))
os.execvp(sys.argv[2 + count], sys.argv[2 + count :])
"""


# Each is run with names as its arguments, some of which may never have come to be.
_REMOVE = """
for folder; do
    tries=200
    while [ -d "$folder" ] && ! rmdir "$folder" 2>/dev/null; do
        while read -r pid; do kill -9 "$pid" 2>/dev/null; done < "$folder/cgroup.procs"
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || exit 1
        sleep 0.05
    done
done
"""
_UNMOUNT = """
if mountpoint -q "$2"; then umount --lazy "$2"; fi
for device in $(losetup --noheadings --output NAME --associated "$1"); do losetup --detach "$device"; done
rm -f "$1"
"""


class NoGroup(Exception):
    """No group can be made here; the text says why."""


@contextlib.contextmanager
def _cleared(script: str, *names: str) -> Iterator[None]:
    """Run a script of the shell once the block is over, or this process, however it ends."""
    waiting = ["sh", "-c", f"cat >/dev/null\n{script}", "sh", *names]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    # What is told to all processes of a terminal, or to those of the tests, is not told to this one.
    with subprocess.Popen(waiting, stdin=pipe, stdout=nothing, stderr=nothing, start_new_session=True) as clearing:
        yield
        # The end of its input is all that it waits for: it comes with the end of this process too.
    assert clearing.returncode == 0, f"not cleared: {' '.join(names)}"


@contextlib.contextmanager
def group(memory_bytes: int, read_bytes_per_s: int | None = None, on: Path | None = None) -> Iterator[Group]:
    """Make a group with so much memory and, for the disk that holds `on`, so much reading. Raises NoGroup.

    Whoever is still in it at the end is killed.
    """
    name = f"deepseek-tui-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with _cleared(_REMOVE, *(str(folder / name) for folder in (_BLOCK_1, _MEMORY_1, _ROOT))):
        yield _made(name, memory_bytes, read_bytes_per_s, on)


def _made(name: str, memory_bytes: int, rate: int | None, on: Path | None) -> Group:
    device = device_of(on) if rate is not None and on is not None else None
    try:
        if (_MEMORY_1 / "memory.limit_in_bytes").exists():
            found = Group(_folder(_MEMORY_1 / name), _folder(_BLOCK_1 / name) if device else None, 1)
            found.limit(memory_bytes)
            if device and found.disk:
                (found.disk / "blkio.throttle.read_bps_device").write_text(f"{device} {rate}")
            return found
        controllers = (_ROOT / "cgroup.subtree_control").read_text().split()
        if "memory" not in controllers or (device and "io" not in controllers):
            raise NoGroup(f"the controllers of {_ROOT} are: {' '.join(controllers) or 'none'}")
        folder = _folder(_ROOT / name)
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


def _folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextlib.contextmanager
def slow_disk(folder: Path, size: int, read_ahead_kb: int = 128) -> Iterator[Path]:
    """Mount a file system of `size` bytes on a loop device that reads ahead like an ordinary disk; yield its folder.

    Raises NoGroup where that cannot be done, which needs root.
    """
    if os.geteuid() != 0:
        raise NoGroup("only root can mount a disk")
    image, mount = folder / "disk.img", folder / "disk"
    mount.mkdir()
    with _cleared(_UNMOUNT, str(image), str(mount)):
        with image.open("wb") as file:
            file.truncate(size)
        _run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=1", str(image))
        device = _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        ahead = Path("/sys/block") / Path(device).name / "queue/read_ahead_kb"
        try:
            ahead.write_text(str(read_ahead_kb))
        except OSError as error:
            raise NoGroup(f"{ahead} cannot be set: {error}") from error
        _run("mount", device, str(mount))
        yield mount


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise NoGroup(f"{command[0]} cannot be used: {detail}") from error
