"""A pass over a text with one model, in a child process: begun, listened to, ended; and what its death means."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from backends import read_errors
from backends.base import Cancel, Cancelled
from backends.errors import BackendError, EngineDied, Unreadable, from_info
from backends.llama_cpp.quality.messages import Failed, Looked, Request, Said
from backends.shown import printable, shown_path

_LAST_BYTES = 4096
COMMAND = (sys.executable, "-P", "-m", "backends.llama_cpp.quality")


def look(model: str, text: str, cancel: Cancel) -> Looked:
    """Return a model's vocabulary and the tokens of a text. Raises BackendError, and Cancelled."""
    found = [said for said in listen(Request("look", model, text), cancel) if isinstance(said, Looked)]
    if not found:
        raise _died(model, 0)
    return found[0]


def listen(request: Request, cancel: Cancel) -> Iterator[Said]:
    """Do a pass, and yield what it says as it comes. The child is gone when this ends, and when `cancel` is set.

    Raises BackendError for what went wrong in it, EngineDied where it died, and Cancelled.
    """
    with tempfile.TemporaryFile() as log:
        try:
            yield from _listen(request, cancel, log)
        finally:
            # Ours is the job's log.
            log.seek(0)
            sys.stderr.write(log.read().decode("utf-8", "replace"))


def _listen(request: Request, cancel: Cancel, log: BinaryIO) -> Iterator[Said]:
    child = _start(request, log)
    cancel.on_set(child.kill)
    try:
        for said in _lines(child, request):
            if isinstance(said, Failed):
                raise from_info(said.error)
            yield said
        status = child.wait()
    except BackendError:
        if cancel.is_set():
            raise Cancelled from None
        raise
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
    if cancel.is_set():
        raise Cancelled
    if status != 0:
        raise _unreadable(request.model, log) or _died(request.model, status)


def _unreadable(model: str, log: BinaryIO) -> Unreadable | None:
    """Return what the child's last words say about a file that could not be read; None if they do not."""
    log.seek(max(0, log.seek(0, 2) - _LAST_BYTES))
    found = read_errors.found(log.read().decode("utf-8", "replace"))
    if found is None:
        return None
    told = read_errors.problem(found, Path(model).name)
    return Unreadable(told.title, told.detail, f"{told.hint.partition(' The next question')[0]} Then measure again.")


def _start(request: Request, log: BinaryIO) -> subprocess.Popen[bytes]:
    keep = (request.rows,) if request.rows >= 0 else ()
    try:
        return subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd="/", pass_fds=keep
        )
    except OSError as error:
        raise BackendError("No process can be started", str(error), "End what you do not need, then retry.") from error


def _lines(child: subprocess.Popen[bytes], request: Request) -> Iterator[Said]:
    assert child.stdin is not None  # noqa: S101 - both are pipes
    assert child.stdout is not None  # noqa: S101
    with contextlib.suppress(BrokenPipeError):  # it died: what it was, is told below
        child.stdin.write(msgspec.json.encode(request))
        child.stdin.close()
    for line in child.stdout:
        if not line.endswith(b"\n"):
            return  # it was killed in the middle of a word
        try:
            yield msgspec.json.decode(line, type=Said)
        except msgspec.MsgspecError as error:
            raise EngineDied("The engine's process says what nobody understands", printable(str(error))) from error


def _died(model: str, status: int) -> EngineDied:
    """Return why a child is gone that said nothing about it."""
    where = shown_path(Path(model))
    if status == -signal.SIGBUS:
        return EngineDied(
            "The disk could not be read",
            f"While {where} was being read, a part of it could not be had.",
            "Look at the disk (`dmesg`), and whether the file was cut short.",
        )
    if status == -signal.SIGKILL:
        return EngineDied(
            "The engine was killed", f"It was running {where}. Most likely memory ran out.", "End other programs first."
        )
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return EngineDied(
        "The engine ended by itself",
        f"It was running {where}, and ended {how}.",
        "Its last words are in the job's log.",
    )
