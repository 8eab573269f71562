"""What can go wrong while a model is quantised, as errors that a person can act on."""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence
from pathlib import Path

from backends.errors import BackendError, BadModelFile, BadOptions, Busy, EngineDied, NotInstalled, OutOfMemory
from backends.gguf.mixes import Choice
from backends.llama_cpp.quantizing.messages import Failed
from backends.llama_cpp.quantizing.wanted import STAYS_FREE_BYTES
from backends.shown import printable, shown_path, size

NOTHING_LEFT = "Nothing is left of the try, and the source is as it was."
_LITTLE_BYTES = 64 * 1024**2
_LONGEST = 300


class NoSpace(BackendError):
    """The disk has too little room for the result."""

    kind = "no_space"


class TargetExists(BackendError):
    """A file is where the result should be, and nobody said that it may be replaced."""

    kind = "target_exists"


class AlreadyQuantized(BackendError):
    """The source has lost something already, and nobody said that it may lose more."""

    kind = "already_quantized"


class SourceChanged(BackendError):
    """The source is no longer the file that it was at the beginning."""

    kind = "source_changed"


def no_room(folder: Path, free: int, needed: int) -> BackendError:
    """Return the error for a result that does not fit on the disk, before it is begun."""
    missing = needed + STAYS_FREE_BYTES - free
    return NoSpace(
        f"The disk is too full: {size(missing)} are missing",
        f"{shown_path(folder)} has {size(free)} free; the result takes {size(needed)}, and "
        f"{size(STAYS_FREE_BYTES)} stay free for everything else.",
        "Make room, or name a target on another disk.",
    )


def became_full(folder: Path, free: int, to_come: int) -> BackendError:
    """Return the error for a disk that others have filled in the meantime."""
    return NoSpace(
        f"The disk became full: {size(max(0, to_come - free))} are missing",
        f"{shown_path(folder)} has {size(free)} free, and {size(to_come)} were still to come. {NOTHING_LEFT}",
        "Make room, then begin again.",
    )


def cannot_write(error: OSError, path: Path) -> BackendError:
    """Return the error for a file that cannot be written."""
    why = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpace("The disk is full", f"{shown_path(path)}: {why}", "Make room, then begin again.")
    hint = "Look at the permissions of the folder, and at the disk; or name another target."
    return BackendError("The file cannot be written", f"{shown_path(path)}: {why}", hint)


def in_the_making(part: Path) -> BackendError:
    """Return the error for a target that another job is at."""
    return Busy("This file is being made already", shown_path(part), "`deepseek-tui ps` shows it.")


def target_is_source(target: Path, part: Path) -> BackendError:
    """Return the error for a target that is the source, by whatever name: `part` is which of its files."""
    return TargetExists(
        "The target is the source itself",
        f"{shown_path(target)} and {shown_path(part)} are one file.",
        "Name another target: a source is never touched.",
    )


def target_exists(target: Path) -> BackendError:
    """Return the error for a target that is there."""
    return TargetExists(
        "A file of this name is there already", shown_path(target), "Name another target, or replace it with --force."
    )


def target_is_folder(target: Path) -> BackendError:
    """Return the error for a target that is no place for a file."""
    return TargetExists("The target is a folder", shown_path(target), "Name the file that is to be made.")


def download_there(part: Path) -> BackendError:
    """Return the error for a target whose unfinished file would be another's: a download that is to go on."""
    return TargetExists(
        "An unfinished download is there",
        f"{shown_path(part)} would be written over.",
        "Name another target; or finish the download, or remove it: `deepseek-tui models remove --unfinished`.",
    )


def came_meanwhile(target: Path, part: Path) -> BackendError:
    """Return the error for a target that came while the result was made: that one stays, under its other name."""
    return TargetExists(
        "A file of this name has come meanwhile",
        f"{shown_path(target)}; the result is whole, and is {shown_path(part)}.",
        f"Give one of them another name: the next try would remove {printable(part.name, 255)}.",
    )


def already_quantized(source: Path, choices: Sequence[Choice]) -> BackendError:
    """Return the error for a source that is quantised; `choices` are what would be quantised once more."""
    kinds = ", ".join(dict.fromkeys(choice.before for choice in choices))
    return AlreadyQuantized(
        "The source is quantised already",
        f"{shown_path(source)}: {len(choices)} of its tensors are {kinds}, and would lose once more.",
        "Take the F16 or BF16 file of the same model, or allow the loss with --requantize.",
    )


def source_changed(part: Path) -> BackendError:
    """Return the error for a source that was cut, written or replaced in the meantime."""
    return SourceChanged(
        "The source was changed while it was read",
        f"{shown_path(part)} is no longer what it was at the beginning. Nothing is left of the try.",
        "Wait until whoever writes it is done, then begin again.",
    )


def unlike(target: Path, what: str) -> BackendError:
    """Return the error for a result that is not what was planned: `what` in a sentence."""
    return BackendError("The result is not what was planned", f"{shown_path(target)}: {what} {NOTHING_LEFT}", _REPORT)


_REPORT = "Begin again; if it happens again, `deepseek-tui doctor --report` writes what to report."


def refused(failed: Failed, source: Path, target: Path, free: int | None) -> BackendError:
    """Return the error for a run that the engine gave up in its own words. `free` is what the disk has left."""
    words = printable(failed.words, _LONGEST)
    lowered = failed.words.lower()
    if failed.cause == "missing":
        return NotInstalled("llama.cpp is not installed", words, "Install it: pip install llama-cpp-python")
    if failed.cause == "differs":
        title = "The engine would make something else than was planned"
        return BadModelFile(title, f"{shown_path(source)}: {words}", "Choose another recipe, or another source.")
    if failed.cause == "importance" or "imatrix" in lowered or "importance matrix" in lowered:
        hint = "Take the matrix that was made for this very model, or none."
        return BadOptions("The importance matrix does not fit", words, hint)
    if "iostream error" in lowered or "basic_ios" in lowered or "basic_filebuf" in lowered:
        return _not_written(target, free)
    if "requantizing from type" in lowered:
        hint = "Take the F16 or BF16 file of the same model, or allow the loss with --requantize."
        return AlreadyQuantized("The source is quantised already", f"{shown_path(source)}: {words}", hint)
    if "bad_alloc" in lowered:
        return OutOfMemory("Main memory is too small", words, "End what takes memory, then begin again.")
    if "invalid data" in lowered:
        hint = "Fetch the source again and compare its size with the publisher's."
        return BadModelFile("The source holds numbers that are none", f"{shown_path(source)}: {words}", hint)
    return BadModelFile(
        "The engine cannot quantise this model",
        f"{shown_path(source)}: {words or 'it did not say why.'}",
        "Choose another source; a newer llama-cpp-python may know it.",
    )


def _not_written(target: Path, free: int | None) -> BackendError:
    """Return the error for a write that failed: the engine does not say why."""
    folder = target.parent
    if free is not None and free < _LITTLE_BYTES:
        what = f"{shown_path(folder)} has {size(free)} free. {NOTHING_LEFT}"
        return NoSpace("The disk is full", what, "Make room, then begin again.")
    return BackendError(
        "The result could not be written",
        f"{shown_path(folder)} took no more. {NOTHING_LEFT}",
        "Look at quotas and at the disk; FAT ends at 4 GB for a file.",
    )


def died(status: int, words: str, source: Path) -> BackendError:
    """Return the error for a process that ended without a word: `status` as `subprocess` has it, `words` its last."""
    said = f" Its last words: {printable(words, _LONGEST)}" if words else ""
    if status == -signal.SIGBUS:
        return BadModelFile(
            "The source cannot be read",
            f"{shown_path(source)}: the disk gave an error in the middle of it (SIGBUS).{said}",
            "Look at the disk: `dmesg` names the place. Copy or fetch the file again.",
        )
    if status == -signal.SIGKILL:
        hint = "If main memory was full, `dmesg` says so: end what takes memory, then begin again."
        return EngineDied("The engine was killed", f"Somebody or the system ended it.{said} {NOTHING_LEFT}", hint)
    if status < 0:
        what = f"It ended by {_name(-status)}.{said or ' It said nothing.'} {NOTHING_LEFT}"
        return EngineDied("The engine crashed", what, _REPORT)
    return EngineDied("The engine ended by itself", f"Status {status}.{said} {NOTHING_LEFT}", _REPORT)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
