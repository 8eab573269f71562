"""The process that quantises, `python -P -m backends.llama_cpp.quantizing`: the engine's own quantiser, called once.

It knows no way to stop and none to say how far it is, and ends the process where its source is cut short. So it has a
process of its own, which may be killed at any moment, tells of each tensor from the engine's log, and ends with its
parent. The first line of standard input is a Task; messages leave over standard output.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from backends.errors import NotInstalled, Problem
from backends.llama_cpp.quantizing.messages import At, Done, Failed, Message, Order, Task
from backends.llama_cpp.quantizing.overrides import Params, overrides
from backends.llama_cpp.quantizing.reading import Begun, Reading

BUFFER_BYTES = 256 * 1024**2
"""What the engine keeps of a tensor in memory at a time. Its default is 8 GiB: of a 32B's output layer 4 would come."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


class _Engine:
    """The engine's quantiser, whose log is read."""

    def __init__(self, lib: Any) -> None:
        self._lib = lib
        self._reading = Reading()
        self._begin: Callable[[Begun], None] = lambda _: None
        self._callback = lib.llama_log_callback(self._log)
        lib.llama_log_set(self._callback, None)

    def quantize(self, task: Task, params: Any, begin: Callable[[Begun], None]) -> tuple[bool, Reading]:
        """Do it; say whether that worked, and what the log said. `begin` hears of each tensor."""
        self._reading, self._begin = Reading(), begin
        source, part = os.fsencode(task.source), os.fsencode(task.part)
        status = self._lib.llama_model_quantize(source, part, ctypes.byref(params))
        return status == 0, self._reading

    def _log(self, level: int, text: bytes | None, _data: object) -> None:
        for begun in self._reading.feed(level, text or b""):
            self._begin(begun)


def main() -> int:
    """Do the one task; return the exit status: 0 where the file is written."""
    told = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever libraries print must not get in between
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    _end_with(task.parent)
    end = _work(task, told)
    _tell(told, end)
    return 0 if isinstance(end, Done) else 1


def _work(task: Task, told: BinaryIO) -> Done | Failed:
    from backends.llama_cpp import binding

    try:
        lib = binding.library()
    except NotInstalled as error:
        return Failed("missing", error.detail)
    params = Params(lib)
    params.value.ftype, params.value.nthread = task.file_type, task.threads
    params.value.allow_requantize, params.value.max_buf_size = task.requantize, BUFFER_BYTES
    try:
        params.give_types(overrides(task.types))
        params.give_keys(task.keys)
        if task.importance:
            params.give_importance(_importance(task))
    except Problem as error:
        return Failed("importance", str(error))
    except ValueError as error:
        return Failed("differs", str(error))
    engine = _Engine(lib)
    order = _as_planned(engine, params.value, task)
    if isinstance(order, Failed):
        return order
    _tell(told, order)
    done, reading = engine.quantize(task, params.value, lambda begun: _tell(told, At(begun.number - 1)))
    return Done() if done else Failed("engine", reading.last_words)


def _importance(task: Task) -> dict[str, array[float]]:
    """Return what is used of the importance matrix. Raises Problem."""
    from backends.gguf.imatrix import read_importance

    entries = read_importance(Path(task.importance)).entries
    return {name: entries[name] for name in task.weighed if name in entries}


def _as_planned(engine: _Engine, params: Any, task: Task) -> Order | Failed:
    """Have the engine say what it would do, which takes milliseconds; only what was planned is worth the hours."""
    names: list[str] = []
    params.dry_run = True
    done, reading = engine.quantize(task, params, lambda begun: names.append(begun.name))
    params.dry_run = False
    if not done:
        return Failed("engine", reading.last_words)
    for name, planned in task.types.items():
        found = reading.types.get(name, "nothing")
        if found != planned:
            return Failed("differs", f"{name} should become {planned}, the engine would make it {found}")
    return Order(tuple(names))


def _tell(told: BinaryIO, message: Message) -> None:
    told.write(msgspec.json.encode(message) + b"\n")


def _end_with(parent: int) -> None:
    """See that this process does not outlive its parent, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was too late for that
            os._exit(1)
    # Elsewhere it is heard of as the end of standard input.
    threading.Thread(target=_wait_for_end, daemon=True).start()


def _wait_for_end() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
