"""What `pull` says: what will be fetched, one line that is written over while it comes, and how it ended; or JSON."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.errors import ErrorInfo, Problem, to_info
from backends.hardware.disk import disk_under
from backends.hub.address import endpoint
from backends.jobs.job import JobView
from backends.shown import shown_path
from presets.schema import PresetEntry
from presets.sources import HuggingFace, Located, written
from tui.chat.clean import clean_line
from tui.commands import output
from tui.commands.job_line import amount, line
from tui.commands.writing_over import OneLine
from tui.units import memory

if TYPE_CHECKING:
    from backends.ollama.wanted import OllamaPull

JSON_S = 1.0


class Words:
    """Says it to a person or to a program: one JSON object a line."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._line = OneLine(quiet=as_json)
        self._told: dict[str, tuple[str, float]] = {}

    def here(self, name: str, title: str, located: Located) -> None:
        if self._json:
            self._event("here", name, path=str(located.path or "") or None, size_bytes=located.size)
        else:
            size = f" ({memory(located.size)})" if located.size is not None else ""
            output.say(f"{title} is here already{size}: {shown_path(located.path or Path())}")

    def at_server(self, name: str, title: str, pull: OllamaPull) -> None:
        if self._json:
            self._event("here", name, path=None, size_bytes=None, server=pull.server)
        else:
            output.say(f"{title} is there already: Ollama at {pull.server} has {clean_line(pull.tag)}.")

    def asking(self, title: str, what: str = "asking how large it is") -> None:
        """Tell that a server is asked for something, which may take seconds."""
        self._line.draw(f"{title}: {what}")

    def by_server(self, name: str, title: str, pull: OllamaPull) -> None:
        """Tell that a server fetches it for itself. How large it is and how much room there is only that one knows."""
        if self._json:
            unknown: dict[str, Any] = {"size_bytes": None, "free_bytes": None, "expected": None, "speed": None}
            self._event("plan", name, source=f"ollama:{pull.tag}", server=pull.server, path=None, **unknown)
            return
        output.say(f"{title}: {clean_line(f'ollama:{pull.tag}')}")
        output.say(f"  fetched and kept by Ollama at {pull.server}; how large it is, it says when it begins")

    def plan(
        self,
        name: str,
        title: str,
        backend: str,
        entry: PresetEntry | None,
        source: HuggingFace,
        place: Path,
        size: int | None,
    ) -> None:
        """Tell what will be fetched, from where to where, and what this machine can be expected to do with it."""
        expected, speed = _expected(entry, backend) if entry is not None else ("", "")
        server, free = endpoint().partition("://")[2], disk_under(place).free_bytes
        if self._json:
            figures = {"size_bytes": size, "free_bytes": free, "expected": expected or None, "speed": speed or None}
            self._event("plan", name, source=written(source), server=server, path=str(place), **figures)
            return
        output.say(f"{title}: {written(source)}")
        much = f"{memory(size)} " if size is not None else "A model folder " if source.is_folder else ""
        room = f", where {memory(free)} are free" if free is not None else ""
        output.say(f"  {much}from {server} to {shown_path(place.parent)}{room}")
        if expected:
            output.say(f"  expected here: {', '.join(part for part in (expected, speed) if part)}")

    def begun(self, name: str, view: JobView) -> None:
        if self._json:
            self._event("begun", name, key=view.key, pid=view.pid)

    def attached(self, name: str, view: JobView) -> None:
        if self._json:
            self._event("attached", name, key=view.key, pid=view.pid)
        else:
            output.say(f"{view.spec.title} is being fetched already.")

    def detached(self, names: Sequence[str]) -> None:
        if names and not self._json:
            output.say(f"It comes in the background. Watch it: {_command(names)}   End it: {_command(names, '--stop')}")

    def left(self, names: Sequence[str]) -> None:
        """Tell that a download goes on without anybody watching."""
        self.clear()
        if names and not self._json:
            output.warn(f"It goes on in the background. Watch it: {_command(names)}")
            output.warn(f"End it; what is here stays: {_command(names, '--stop')}")

    def progress(self, views: Sequence[tuple[str, JobView]], done: int) -> None:
        """Show how far those are that are under way; `done` have ended before."""
        now = time.monotonic()
        for name, view in views:
            stage, shown_at = self._told.get(view.key, ("", 0.0))
            new = view.progress.stage != stage
            if self._json and (new or now - shown_at >= JSON_S):
                self._told[view.key] = (view.progress.stage, now)
                self._event("progress", name, **_figures(view))
            elif not self._json and not self._line.on_terminal and new:
                self._told[view.key] = (view.progress.stage, now)
                self._line.write(f"{clean_line(line(view))}\n")
        if self._line.on_terminal:
            name, view = min(views, key=lambda one: one[1].progress.stage in {"queued", "starting"})
            total = len(views) + done
            self._line.draw(line(view) + (f" · {done + 1} of {total}" if total > 1 else ""))

    def ended(self, name: str, key: str, view: JobView | None) -> int:
        """Tell how a download ended; return the exit status."""
        self.clear()
        if view is not None and view.state == "done":
            result, note, title = view.progress.result, view.progress.note, view.spec.title
            if self._json:
                self._event("done", name, key=key, path=result or None, note=note or None)
            else:
                output.say(f"{title} is here: {shown_path(Path(result))}   {note}" if result else f"{title}: {note}")
            return output.DONE
        error = (view.progress.error if view is not None else None) or _gone(name, view)
        self._error(name, key, error)
        return output.STOPPED if view is not None and view.state == "stopped" else output.FAILED

    def failed(self, name: str, key: str, problem: Problem) -> None:
        self.clear()
        self._error(name, key, to_info(problem))

    def not_running(self, name: str) -> None:
        if self._json:
            self._event("not_running", name)
        else:
            output.say(f"{name} is not being fetched.")

    def stopped(self, name: str, view: JobView, *, gone: bool) -> None:
        done, total = view.progress.done_bytes, view.progress.total_bytes
        if self._json:
            self._event("stopped" if gone else "not_stopped", name, key=view.key, done_bytes=done, total_bytes=total)
        elif gone:
            here = f"{amount(done, total)} are here and stay" if total else "What is here stays"
            output.say(f"{view.spec.title}: stopped. {here}. Go on: {_command([name])}")
        else:
            output.say(f"{view.spec.title} (pid {view.pid}): NOT ended. The disk may hang.")

    def note(self, text: str) -> None:
        self.clear()
        output.warn(f"note: {clean_line(text)}")

    def clear(self) -> None:
        """Take the line back, before anything else is written to the same terminal."""
        self._line.clear()

    def _error(self, name: str, key: str, error: ErrorInfo) -> None:
        if self._json:
            told = {"kind": error.kind, "title": error.title, "detail": error.detail, "hint": error.hint}
            self._event("error", name, key=key, **told)
        else:
            output.say_error(ErrorInfo(error.kind, f"{name}: {error.title}", error.detail, error.hint))

    def _event(self, event: str, name: str, **figures: Any) -> None:
        output.say(output.to_json({"event": event, "name": name, **figures}))
        sys.stdout.flush()


def _figures(view: JobView) -> dict[str, Any]:
    progress = view.progress
    return {
        "key": view.key,
        "stage": progress.stage,
        "note": progress.note or None,
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
        "bytes_per_s": progress.bytes_per_s,
        "left_s": progress.left_s,
    }


def _expected(entry: PresetEntry, backend: str) -> tuple[str, str]:
    """Return what the plan says of a preset as if its model were here, and how fast it would be; "" where nothing."""
    from presets.plan import PLANNED, plan_preset
    from tui.plans.brief import expected
    from tui.plans.looking import host_pids, this_machine

    if backend != PLANNED:
        return "", ""
    look = expected(plan_preset(entry, this_machine(host_pids()), backend))
    if look is None:
        return "", ""
    return f"does not fit ({look.detail})" if look.problem else look.detail, look.speed


def _gone(name: str, view: JobView | None) -> ErrorInfo:
    hint = f"Go on: {_command([name])}"
    if view is None:
        return ErrorInfo("interrupted", "Nothing is known of it any more", "Its folder of state was removed.", hint)
    if view.state == "stopped":
        return ErrorInfo("stopped", f"{view.spec.title} was stopped", "What is here stays.", hint)
    what = "Its process was killed, or ended with the machine. What is here stays."
    return ErrorInfo("interrupted", f"{view.spec.title} was interrupted", what, hint)


def _command(names: Sequence[str], *options: str) -> str:
    return shlex.join(["deepseek-tui", "pull", *options, *names])
