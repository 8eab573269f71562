"""The engine's thread in a host: loads the model, then answers one request after another."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from backends import holdings, registry
from backends.base import Backend, Cancel, Cancelled, Loaded, Message
from backends.energy.meter import Meter
from backends.errors import BackendError, BadOptions, EngineDied, ErrorInfo, Problem, to_info
from backends.events import Done, Energy, LoadProgress, PromptProgress, Reasoning, Text, Timings
from backends.fitting import Fit, fit
from backends.host import measuring, unclaimed
from backends.host.answer import AnswerLog
from backends.host.counting import Counting
from backends.host.wire import LOAD_STOPPED, Failed, HostSpec, Phase

QUIT_S = 5.0
UNLOAD_S = 30.0
"""An engine may write what it keeps of a conversation before it goes: gigabytes, on a slow disk."""


@dataclass
class CountJob:
    """A conversation to count; `reply` is called in the engine's thread."""

    messages: tuple[Message, ...]
    reply: Callable[[Fit | ErrorInfo], None]


@dataclass
class ForgetJob:
    """A deleted conversation; `reply` is called in the engine's thread."""

    chat: str
    reply: Callable[[ErrorInfo | None], None]


Job = AnswerLog | CountJob | ForgetJob


class Engine:
    """The only owner of the backend. Its attributes may be read from any thread.

    `changed` follows each change, and is told whether it cannot wait.
    """

    def __init__(self, spec: HostSpec, changed: Callable[[bool], None]) -> None:
        self.phase: Phase = "loading"
        self.progress: LoadProgress | None = None
        self.loaded: Loaded | None = None
        self.error: ErrorInfo | None = None
        self.current: AnswerLog | None = None
        self.load_cancel = Cancel()
        self._spec = spec
        self._changed = changed
        self._meter = Meter()
        self._load_s: float | None = None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._settling = Cancel()
        self._settling.set()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._meter.start()
        self._thread.start()

    def submit(self, job: Job) -> None:
        self._jobs.put(job)
        self._settling.set()

    def quit(self) -> bool:
        """Unload and end the thread; say whether it did so in time."""
        self.load_cancel.set()
        self._jobs.put(None)
        self._settling.set()
        self._thread.join(QUIT_S)
        if self.phase == "ending":
            self._thread.join(UNLOAD_S)
        return not self._thread.is_alive()

    def leave_rest(self) -> None:
        """Leave what no answer had, and a load that none waited for, for the bill. For the very end."""
        told = self.current.told if self.current is not None else None
        self.leave(unclaimed.beyond(self._meter.take(), told), self._load_s)
        self._meter.stop()

    def leave(self, energy: Energy | None, load_s: float | None) -> None:
        """Leave energy that belongs to no answer for the bill."""
        spec = self._spec
        unclaimed.leave(spec.preset, spec.backend, spec.model, load_s, energy)

    def _run(self) -> None:
        backend = self._load()
        if backend is None:
            self._drain()
            return
        # What an answer imports first would be compiled and written: writes are counted, and must be none.
        sys.dont_write_bytecode = True
        self._set("idle")
        while (job := self._next(backend)) is not None:
            match job:
                case CountJob():
                    self._count(backend, job)
                case ForgetJob():
                    self._forget(backend, job)
                case AnswerLog():
                    self._answer(backend, job)
                    if self.error is not None:
                        self._drain()
                        return
        self.phase = "ending"
        backend.unload()

    def _load(self) -> Backend | None:
        started = time.monotonic()
        self._meter.enter("load")
        try:
            backend = registry.find(self._spec.backend)()
            try:
                options = msgspec.convert(self._spec.options, backend.Options)
            except msgspec.ValidationError as error:
                title = f"{backend.title} cannot take these options"
                raise BadOptions(title, str(error), "Mend the preset.") from error
            holdings.release_orphans()
            loaded = backend.load(self._spec.model, options, self._report, self.load_cancel)
            if loaded.capabilities is None:
                loaded = msgspec.structs.replace(loaded, capabilities=backend.check().capabilities)
            self.loaded = loaded
        except Cancelled:
            self.error = ErrorInfo(LOAD_STOPPED, "Loading was stopped")
            self._set("failed")
            return None
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; the host goes on
            if not isinstance(error, Problem):
                _log_traceback()
            self.error = to_info(error)
            self._set("failed")
            return None
        finally:
            self._load_s = time.monotonic() - started
            self._meter.enter(None)
        self._meter.place(loaded.place)
        self._meter.cards_used(False if _on_the_processor(loaded) else None)
        self.progress = None
        return backend

    def _report(self, progress: LoadProgress) -> None:
        self.progress = progress
        self._changed(False)

    def _answer(self, backend: Backend, log: AnswerLog) -> None:
        if log.closing:
            return
        # Only the first answer after loading waited for the load.
        load_s, self._load_s = self._load_s, None
        self._meter.enter("prefill")
        # Of a server only that process could be counted, and it is not ours.
        here = self.loaded is not None and self.loaded.place == "process"
        log.begin(self._meter, load_s, Counting() if here else None)
        self.current = log
        self._set("prefill")
        done: Done | None = None
        try:
            for event in backend.chat(log.request, log.cancel):
                match event:
                    case Done():
                        done = event
                    case PromptProgress():
                        log.append(event)
                    case Reasoning() | Text():
                        log.append(event)
                        if self.phase == "prefill":
                            self._meter.enter("decode")
                            self._set("decode")
            if done is None:
                raise BackendError("The engine stopped without an end", "It gave no last event.", "Try again.")
            ending: Done | Failed = done
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; the host goes on
            if not isinstance(error, Problem):
                _log_traceback()
            ending = Failed(to_info(error))
            if isinstance(error, EngineDied):
                # Nothing more can be asked of this process, nor given back: its end frees what it held.
                self.error = to_info(error)
        if not log.close(ending, self._meter.take):
            # Closed before the engine came back from it: what it used since then belongs to nobody's answer.
            self.leave(unclaimed.beyond(self._meter.take(), log.told), None)
        self._meter.enter(None)
        self.current = None
        self._set("idle" if self.error is None else "failed")
        if done is not None and self.loaded is not None:
            measuring.keep(self._spec, self.loaded, done)

    def _next(self, backend: Backend) -> Job | None:
        """Wait for a job; meanwhile the engine may get ready for the next question."""
        self._settling = Cancel()
        # A job that was put before the flag was there is seen here, a later one sets it.
        if self._jobs.empty():
            self._meter.enter("settle")
            try:
                backend.settle(self._settling)
            except Exception:  # noqa: BLE001 - nobody asked for it: the next answer will tell
                _log_traceback()
            finally:
                self._meter.enter(None)
        return self._jobs.get()

    def _count(self, backend: Backend, job: CountJob) -> None:
        try:
            job.reply(fit(job.messages, self._context(backend), backend.count_tokens))
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; the host goes on
            job.reply(to_info(error))

    def _context(self, backend: Backend) -> int:
        context = self.loaded.context if self.loaded is not None else None
        if context is None:
            raise BackendError(
                f"{backend.title} does not tell how large its context is",
                "So nobody knows how much of the conversation it takes.",
                f"Set context in the preset's [backends.{backend.name}].",
            )
        return context

    def _forget(self, backend: Backend, job: ForgetJob) -> None:
        try:
            backend.forget(job.chat)
        except Exception as error:  # noqa: BLE001 - an engine may raise anything; the host goes on
            job.reply(to_info(error))
        else:
            job.reply(None)

    def _drain(self) -> None:
        """Tell everybody in line that there will be no model."""
        error = self.error or ErrorInfo("backend_error", "Loading failed")
        while (job := self._jobs.get()) is not None:
            if not isinstance(job, AnswerLog):
                job.reply(error)
            else:
                stopped = job.cancel.is_set() or error.kind == LOAD_STOPPED
                job.close(Done("stopped", job.usage(), Timings()) if stopped else Failed(error))

    def _set(self, phase: Phase) -> None:
        self.phase = phase
        self._changed(True)


def _on_the_processor(loaded: Loaded) -> bool:
    """Whether an engine, or a server, has said that no card takes part."""
    return (loaded.gpu_layers == 0 and not loaded.output_on_gpu) or loaded.vram_bytes == 0


def _log_traceback() -> None:
    """Write the traceback of an unforeseen error to the host's log."""
    import traceback

    os.write(2, traceback.format_exc().encode())
