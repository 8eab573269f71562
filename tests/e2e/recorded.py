"""What programs do to the disk, in order, and what of it is left when the power goes.

`recorder.c` notes it from inside the programs. `Disk` is the disk as it may be after a power cut: what was synced is
there, of the rest anything may be, write by write, name by name; a name's changes come in their order.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_HEADER = struct.Struct("<c7xQQqqq")
_SOURCE = Path(__file__).with_name("recorder.c")

Kind = Literal["create", "write", "truncate", "sync begins", "sync", "unlink", "rename", "mkdir", "send"]
_KINDS: dict[bytes, Kind] = {
    b"c": "create", b"w": "write", b"t": "truncate", b"b": "sync begins", b"s": "sync", b"u": "unlink",
    b"r": "rename", b"m": "mkdir", b"!": "send",
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One thing that a program did. `offset` of a truncation is the new size; `data` of a rename the new path."""

    kind: Kind
    pid: int
    inode: int
    offset: int
    path: str
    data: bytes

    @property
    def name(self) -> str:
        return Path(self.path).name


class Recording:
    """Programs started with `environment` are recorded."""

    def __init__(self, folder: Path, under: Path) -> None:
        library = folder / "recorder.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
        self._log = folder / "recorded"
        self.environment = os.environ | {
            "LD_PRELOAD": str(library),
            "RECORD_TO": str(self._log),
            "RECORD_UNDER": str(under),
        }

    def steps(self) -> list[Step]:
        return list(_parsed(self._log.read_bytes()))


def _parsed(log: bytes) -> Iterator[Step]:
    place = 0
    while place < len(log):
        kind, pid, inode, offset, path_size, data_size = _HEADER.unpack_from(log, place)
        place += _HEADER.size
        path, data = log[place : place + path_size], log[place + path_size : place + path_size + data_size]
        place += path_size + data_size
        yield Step(_KINDS[kind], pid, inode, offset, os.fsdecode(path), data)


@dataclass
class File:
    """What was done to the content of one file; the first `sure` steps are synced."""

    done: list[Step] = field(default_factory=list)
    sure: int = 0

    def content(self, keeps: Iterable[bool]) -> bytes:
        """Return the content with what is synced, and those of the other steps that `keeps` says."""
        content = bytearray()
        for number, (step, kept) in enumerate(zip(self.done, keeps, strict=True)):
            if number >= self.sure and not kept:
                continue
            if step.kind == "truncate":
                content[step.offset :] = bytes(max(0, step.offset - len(content)))
            else:
                content.extend(bytes(max(0, step.offset - len(content))))
                content[step.offset : step.offset + len(step.data)] = step.data
        return bytes(content)


@dataclass
class Folder:
    """What was done to the names in one folder: each name's new file, None for none; the first `sure` are synced."""

    done: list[tuple[str, File | Folder | None]] = field(default_factory=list)
    sure: int = 0


class Disk:
    """The files under one folder, `root`, which is there from the start."""

    def __init__(self, root: Path) -> None:
        self._root = Folder()
        self._folders = {str(root): self._root}
        self._files: dict[int, File] = {}
        self._syncing: dict[tuple[int, int], int] = {}

    def take(self, step: Step) -> None:
        """Do the next step."""
        match step.kind:
            case "create":
                self._files[step.inode] = File()
                self._name(step.path, self._files[step.inode])
            case "mkdir":
                folder = self._folders[step.path] = Folder()
                self._name(step.path, folder)
            case "unlink":
                self._name(step.path, None)
            case "rename":
                self._name(step.path, None)
                self._name(os.fsdecode(step.data), self._files[step.inode])
            case "write" | "truncate" if step.inode in self._files:
                self._files[step.inode].done.append(step)
            case "sync begins" if (one := self._synced(step)) is not None:
                self._syncing[step.pid, step.inode] = len(one.done)
            case "sync" if (one := self._synced(step)) is not None:
                one.sure = max(one.sure, self._syncing.pop((step.pid, step.inode)))

    def lose_power(self, target: Path, left: float, chance: random.Random) -> None:
        """Write into `target` what is left: what was synced, and by chance the share `left` of the rest."""
        target.mkdir()
        self._write(self._root, target, left, chance)

    def _write(self, folder: Folder, target: Path, share: float, chance: random.Random) -> None:
        left: dict[str, File | Folder | None] = {}
        late: set[str] = set()
        for number, (name, one) in enumerate(folder.done):
            if number >= folder.sure and (name in late or chance.random() >= share):
                late.add(name)  # nor what was done to this name after it
                continue
            left[name] = one
        for name, one in left.items():
            if isinstance(one, Folder):
                (target / name).mkdir(mode=0o700)
                self._write(one, target / name, share, chance)
            elif one is not None:
                keeps = [chance.random() < share for _ in one.done]
                (target / name).write_bytes(one.content(keeps))

    def _name(self, path: str, one: File | Folder | None) -> None:
        folder = self._folders.get(str(Path(path).parent))
        if folder is not None:
            folder.done.append((Path(path).name, one))

    def _synced(self, step: Step) -> File | Folder | None:
        return self._folders.get(step.path) or self._files.get(step.inode)


def place(steps: Sequence[Step], kind: Kind, name: str, data: bytes = b"", after: int = -1) -> int:
    """Return where the first step of a kind with this name, and this in its data, is. Raises AssertionError."""
    for number, step in enumerate(steps):
        if number > after and step.kind == kind and step.name == name and data in step.data:
            return number
    raise AssertionError(f"no {kind} of {name!r} with {data!r}")
