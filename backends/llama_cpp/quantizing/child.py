"""The process that quantises, seen from the job: begun, listened to, and ended whenever that is wanted."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import IO

import msgspec

from backends.errors import BackendError
from backends.llama_cpp.quantizing.messages import Message, Task, decode

_WORDS_BYTES = 4096


class Child:
    """Runs a task, inside a `with` block; at its end the process is gone. Raises BackendError if it cannot be begun.

    The descriptors in `keep` stay open in it.
    """

    def __init__(self, task: Task, keep: tuple[int, ...] = ()) -> None:
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        # No card is needed, and a context on one that is full could fail.
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "backends.llama_cpp.quantizing"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=environment,
                pass_fds=keep,
            )
        except OSError as error:
            self._said.close()
            raise BackendError("No process can be started", str(error), "End what you do not need.") from error
        self._listener = threading.Thread(target=self._listen, name="quantizing", daemon=True)
        self._listener.start()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it is gone already: that is seen at its end
                self._process.stdin.write(msgspec.json.encode(task) + b"\n")
                self._process.stdin.flush()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._said.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def message(self, timeout_s: float) -> Message | None:
        """Return what it says next. Raises TimeoutError where that takes longer; None is its end."""
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None

    def status(self) -> int:
        """Wait for the end and return its status: negative is the number of the signal that ended it."""
        return self._process.wait()

    def last_words(self) -> str:
        """Return the last line that it or a library wrote to standard error, "" for none."""
        self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - _WORDS_BYTES))
        lines = self._said.read(_WORDS_BYTES).decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            if (message := decode(line)) is not None:
                self._messages.put(message)
        self._messages.put(None)
