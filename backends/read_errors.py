"""A model's file that could not be read while the engine computed: the line that tells of it, and what to tell people.

The process that meets it cannot go on, and says so in the last line of its log; whoever finds the process gone reads it
there.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.errors import Unreadable
from backends.shown import shown_path

_MARK = "unreadable: "


class ReadError(msgspec.Struct, frozen=True):
    """The byte `offset` of `file` could not be read. `length` is what the file had at that moment, None if unknown.

    `memory` says that it was the machine's main memory that failed, not the disk.
    """

    file: str
    offset: int
    length: int | None = None
    memory: bool = False

    @property
    def cut(self) -> bool:
        """Whether the file ends before that byte: somebody has written to it."""
        return self.length is not None and self.length <= self.offset


def line(error: ReadError) -> bytes:
    """Return the line for the log. What is no text of a file's name is shown as such."""
    name = error.file.encode(errors="surrogateescape").decode(errors="replace")
    return _MARK.encode() + msgspec.json.encode(msgspec.structs.replace(error, file=name)) + b"\n"


def found(log: str) -> ReadError | None:
    """Return what the end of a log tells, None if its last line is about something else."""
    last = log.strip().rpartition("\n")[2]
    if not last.startswith(_MARK):
        return None
    try:
        return msgspec.json.decode(last.removeprefix(_MARK), type=ReadError)
    except msgspec.DecodeError:
        return None


def problem(error: ReadError, model: str) -> Unreadable:
    """Return it as an error for the user of `model`."""
    where = f"{shown_path(Path(error.file))} at byte {error.offset:,}"
    if error.memory:
        return Unreadable(
            "A part of main memory is broken",
            f"{model} could not go on: the memory that held {where} is faulty.",
            "`sudo dmesg` says which module it is, memtest86+ how bad. The next question starts the model anew.",
        )
    if error.cut:
        return Unreadable(
            "The model's file was cut short",
            f"{model} was reading {where}, and the file has only {error.length:,} bytes now.",
            "Something has written to the file: fetch it again. The next question starts the model anew.",
        )
    return Unreadable(
        "The disk could not be read",
        f"{model} could not go on: reading {where} failed.",
        "`sudo dmesg` and `sudo smartctl -a` say what is wrong with the disk. Where it is well, fetch the file again. "
        "The next question starts the model anew.",
    )
