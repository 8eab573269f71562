"""The job that quantises a model. Its target appears only when it is whole; the source is only ever read."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import msgspec

from backends.base import Cancel, Cancelled
from backends.errors import BadModelFile
from backends.gguf.reader import read_header
from backends.gguf.source import FileBytes
from backends.gguf.tensors import padded
from backends.hardware.cpu_limits import usable_cpus
from backends.jobs.report import Report
from backends.jobs.turns import turn
from backends.llama_cpp.quantizing import failures
from backends.llama_cpp.quantizing.child import Child
from backends.llama_cpp.quantizing.estimate import estimate
from backends.llama_cpp.quantizing.messages import At, Done, Failed, Order, Task
from backends.llama_cpp.quantizing.part import Part
from backends.llama_cpp.quantizing.prepare import Prepared, free_bytes, prepare
from backends.llama_cpp.quantizing.progress import ALIGNMENT, Progress
from backends.llama_cpp.quantizing.source import Ahead
from backends.llama_cpp.quantizing.wanted import Quantize

BEAT_S = 0.25
AHEAD_BYTES = 512 * 1024**2
MEASURED_BYTES = 4 * 1024**3
"""From this size on it is worth a second to find out how the work is spread over the tensors."""
LEFT_BYTES = 64 * 1024**2
"""The disk is not filled to its last byte: others have something to write there, too."""


def run(work: dict[str, Any], report: Report, cancel: Cancel) -> str:
    """Quantise a model; return the path of the file. Raises BackendError, and Cancelled."""
    wanted = msgspec.convert(work, Quantize)
    report.total(_unopposed(wanted).source.tensor_bytes)
    with turn("quantize", report, cancel):
        report.stage("checking")
        prepared = _unopposed(wanted)  # while it waited others had time to change everything
        part = Part(prepared.target)
        stays = False
        try:
            _Making(wanted, prepared, part, report, cancel).make()
            report.stage("finishing")
            _verify(prepared, part)
            part.finish(replace=wanted.replace)
        except failures.TargetExists:
            stays = True  # it is whole, and which of the two is wanted is for the user to say
            raise
        finally:
            if not stays:
                part.discard()
            part.close()
    report.stage("done", "Every tensor is as it was planned.")
    return str(prepared.target)


def _unopposed(wanted: Quantize) -> Prepared:
    """Return what is to be done. Raises the first of what is in the way."""
    prepared = prepare(wanted)
    for objection in prepared.objections:
        raise objection
    return prepared


class _Making:
    """Has the child write the part, and watches it, the source and the disk meanwhile."""

    def __init__(self, wanted: Quantize, prepared: Prepared, part: Part, report: Report, cancel: Cancel) -> None:
        self._prepared, self._part, self._report, self._cancel = prepared, part, report, cancel
        self._progress: Progress | None = None
        self._ahead: Ahead | None = None
        self._looked = 0.0
        large = prepared.source.tensor_bytes >= MEASURED_BYTES
        self._costs = estimate(prepared, wanted.threads).by_tensor if large else {}
        self._task = Task(
            source=str(prepared.source.first),
            part=str(part.path),
            file_type=prepared.file_type,
            types=prepared.types,
            threads=wanted.threads or usable_cpus(),
            parent=os.getpid(),
            importance=wanted.importance,
            weighed=prepared.weighed,
            requantize=wanted.requantize,
            keys=prepared.keys,
        )

    def make(self) -> None:
        """Come back when the part is written. Raises BackendError, and Cancelled: then the child is gone."""
        # The child has the lock, too: a part is nobody else's before both are gone.
        with Child(self._task, (self._part.descriptor,)) as child, contextlib.ExitStack() as opened:
            end = self._follow(child, opened)
            status = child.status()
            words = child.last_words()
        if self._cancel.is_set():
            raise Cancelled
        # What is wrong with the source explains whatever came of it.
        self._check_source()
        source, target = self._prepared.source, self._prepared.target
        if isinstance(end, Failed):
            raise failures.refused(end, source.first, target, free_bytes(target.parent))
        if end is None or status:
            raise failures.died(status, words, source.first)
        self._tell()

    def _follow(self, child: Child, opened: contextlib.ExitStack) -> Done | Failed | None:
        """Listen until the child ends, and return its last word, None if it had none."""
        end: Done | Failed | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                message = child.message(BEAT_S)
                match message:
                    case None:
                        return end
                    case Done() | Failed():
                        end = message
                    case Order(names):
                        prepared = self._prepared
                        self._progress = Progress(names, prepared.choices, prepared.header_bytes, self._costs)
                        self._ahead = opened.enter_context(Ahead(prepared.source, names, AHEAD_BYTES))
                    case At(place):
                        self._begin(place)
            self._beat()

    def _begin(self, place: int) -> None:
        if self._progress is not None and self._ahead is not None:
            self._progress.begin(place)
            self._ahead.at(place)
            self._report.stage("quantizing", self._progress.note)

    def _beat(self) -> None:
        """Look around, a few times a second at most. Raises BackendError, and Cancelled."""
        if self._cancel.is_set():
            raise Cancelled
        if time.monotonic() - self._looked < BEAT_S:
            return
        self._looked = time.monotonic()
        self._check_source()
        self._tell()
        folder = self._prepared.target.parent
        free, to_come = free_bytes(folder), self._prepared.size_bytes - self._part.size
        if free is not None and free < min(to_come, LEFT_BYTES):
            raise failures.became_full(folder, free, to_come)

    def _tell(self) -> None:
        if self._progress is not None:
            written = self._part.size
            self._report.at(self._progress.done(written))
            if (share := self._progress.share(written)) is not None:
                self._report.share(share)

    def _check_source(self) -> None:
        changed = self._prepared.source.changed()
        if changed is not None:
            raise failures.source_changed(changed)


def _verify(prepared: Prepared, part: Part) -> None:
    """Look whether the part holds every tensor as it was planned. Raises BackendError."""
    target = prepared.target
    if not part.is_here():
        raise failures.unlike(target, "its unfinished file was replaced by another one.")
    try:
        with FileBytes(part.path) as opened:
            header = read_header(opened, str(part.path))
    except BadModelFile as error:
        raise failures.unlike(target, f"{error}.") from error
    found = {tensor.name: (tensor.shape, tensor.type_name) for tensor in header.tensors}
    shapes = {tensor.name: tensor.shape for one in prepared.source.headers for tensor in one.tensors}
    wrong = [one.name for one in prepared.choices if found.pop(one.name, None) != (shapes[one.name], one.after)]
    wrong += found
    if wrong:
        raise failures.unlike(target, f"the tensor {wrong[0]} is another one.")
    data = sum(padded(choice.after_bytes, ALIGNMENT) for choice in prepared.choices)
    if header.missing_bytes or header.file_size != header.data_offset + data:
        raise failures.unlike(target, f"it has {header.file_size} bytes instead of {header.data_offset + data}.")
