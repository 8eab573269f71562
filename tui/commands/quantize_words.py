"""What `quantize` says: what comes out and what a machine will do with it, how far it is, how it ended; or JSON."""

from __future__ import annotations

import shlex
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends.errors import BackendError, ErrorInfo, to_info
from backends.gguf.mixes import Choice
from backends.hardware.machine import Machine
from backends.jobs.job import JobView
from backends.shown import printable, shown_path
from presets.outcome import Outcome
from tui.chat.clean import clean_line
from tui.commands import job_line, output, table
from tui.commands.quantize_plan import Row
from tui.commands.quantize_wanted import Wanted
from tui.commands.writing_over import OneLine
from tui.plans.told import predicted
from tui.units import DASH, memory, roughly

JSON_S = 1.0
_SPARE = (5, 4)
_NEVER_WEIGHED = ("token_embd.weight", "output.weight")
"""Of these no importance is measured, unless llama-imatrix is told to: nothing is amiss."""
_WIDEST = 110


class Needs(msgspec.Struct, frozen=True):
    """What making it takes: seconds on this machine, bytes on the disk, and what is free there. None is unknown.

    `to_fetch` of the bytes are the source's. `problem` says why no time is known, `without_reading` that nobody knows
    yet how fast the disk is. `unweighed` are the tensors of which an importance matrix says nothing. `opposed` is what
    is in the way of it, the weightiest first.
    """

    seconds: float | None
    threads: int
    room_bytes: int
    free_bytes: int | None
    to_fetch: int = 0
    problem: str = ""
    without_reading: bool = False
    unweighed: tuple[str, ...] = ()
    opposed: tuple[BackendError, ...] = ()


class Words:
    """Says it to a person or to a program: one JSON object a line."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._line = OneLine(quiet=as_json)
        self._told: tuple[str, float] = ("", 0.0)

    def plan(self, wanted: Wanted, found: Outcome, needs: Needs, machine: Machine, rows: Sequence[Row]) -> None:
        """Tell what comes out, what that takes, and what the machine will do with it."""
        self.clear()
        if self._json:
            self._event("plan", **_document(wanted, found, needs, machine, rows))
            return
        output.say(f"{printable(found.family)} by {_named(found)}")
        facts = {
            "from": _from(wanted, found),
            "to": shown_path(wanted.target),
            "size": _size(found),
            "types": " · ".join(f"{name} {memory(size)}" for name, size in found.types if size),
            "fall back": fell_back(found.fell_back, len(found.choices)),
            "idle": idle(found),
            "twice": twice_means(found.twice),
            "matrix": _unweighed(needs),
            "time": _time(needs),
            "space": _space(needs),
            "objection": _opposed(needs),
        }
        wide = max(map(len, facts))
        for name, text in facts.items():
            if text:
                _say_wrapped(f"  {name:<{wide}}  {text}", wide + 4)
        output.say()
        output.say(f"What {machine.title or 'this machine'} will do with it:")
        head = ("", "SIZE", "BITS", "LAYERS", "VRAM", "RAM", "SSD/TOKEN", "TOKENS/S", "KLD")
        columns = table.width()
        for line in table.table(head, [_cells(row) for row in rows], None if columns is None else columns - 2, _SPARE):
            output.say(f"  {line}")
        for note in _notes(rows):
            _say_wrapped(f"  {note}", 2)

    def asking(self, text: str) -> None:
        """Tell what takes a moment."""
        self._line.draw(text)

    def here(self, wanted: Wanted) -> None:
        if self._json:
            self._event("here", path=output.path_text(wanted.target))
        else:
            output.say(f"{wanted.title} is made already: {shown_path(wanted.target)}")

    def attached(self, view: JobView) -> None:
        if self._json:
            self._event("attached", key=view.key, pid=view.pid)
        else:
            output.say(f"{view.spec.title} is being made already.")

    def begun(self, view: JobView) -> None:
        if self._json:
            self._event("begun", key=view.key, pid=view.pid)

    def written(self, name: str, file: Path) -> None:
        """Tell of the preset that uses the result."""
        self.clear()
        if self._json:
            self._event("preset", name=name, file=output.path_text(file))
        else:
            output.say(f"Its preset is {name}: {shown_path(file)}")

    def detached(self, again: Sequence[str], target: Path) -> None:
        if not self._json:
            output.say(f"It goes on in the background. Watch it: {_command(*again)}   End it: {_stop(target)}")

    def left(self, again: Sequence[str], target: Path) -> None:
        """Tell that it goes on without anybody watching."""
        self.clear()
        if not self._json:
            output.warn(f"It goes on in the background. Watch it: {_command(*again)}")
            output.warn(f"End it; nothing of it stays: {_stop(target)}")

    def progress(self, view: JobView) -> None:
        """Show how far it is."""
        now = time.monotonic()
        stage, shown_at = self._told
        new = view.progress.stage != stage
        if self._json and (new or now - shown_at >= JSON_S):
            self._told = (view.progress.stage, now)
            self._event("progress", **_progress(view))
        elif not self._json and self._line.on_terminal:
            self._line.draw(job_line.line(view))
        elif not self._json and new:
            self._told = (view.progress.stage, now)
            self._line.write(f"{clean_line(job_line.line(view))}\n")

    def ended(self, title: str, view: JobView | None) -> int:
        """Tell how it ended; return the exit status."""
        self.clear()
        if view is not None and view.state == "done":
            result, note = view.progress.result, view.progress.note
            if self._json:
                self._event("done", key=view.key, path=result, note=note or None)
            else:
                output.say(f"{title} is made: {shown_path(Path(result))}   {note}".rstrip())
            return output.DONE
        error = (view.progress.error if view is not None else None) or _gone(title, view)
        self.failed(error)
        return output.STOPPED if view is not None and view.state == "stopped" else output.FAILED

    def in_ollama(self, name: str) -> None:
        self.clear()
        if self._json:
            self._event("ollama", model=name)
        else:
            output.say(f"Ollama has it as {name}")

    def failed(self, error: ErrorInfo) -> None:
        self.clear()
        if self._json:
            self._event("error", kind=error.kind, title=error.title, detail=error.detail, hint=error.hint)
        else:
            output.say_error(error)

    def stopped(self, view: JobView | None, *, gone: bool) -> None:
        if self._json:
            event = "not_running" if view is None else "stopped" if gone else "not_stopped"
            self._event(event, key=view.key if view is not None else None)
        elif view is None:
            output.say("It is not being made.")
        elif gone:
            output.say(f"{view.spec.title}: stopped. Nothing of it stays, and its source is as it was.")
        else:
            output.say(f"{view.spec.title} (pid {view.pid}): NOT ended. The disk may hang.")

    def waits(self, name: str) -> None:
        """Tell of the preset that was written for a model that has come to nothing."""
        if self._json:
            self._event("preset_waits", name=name)
        else:
            command = shlex.join(["deepseek-tui", "presets", "remove", name])
            output.warn(f"Its preset {name} has no model now: quantise again, or {command}")

    def note(self, text: str) -> None:
        self.clear()
        output.warn(f"note: {clean_line(text)}")

    def clear(self) -> None:
        """Take the line back, before anything else is written to the same terminal."""
        self._line.clear()

    def _event(self, event: str, **figures: Any) -> None:
        output.say(output.to_json({"event": event, **figures}))
        sys.stdout.flush()


def twice_means(choices: Sequence[Choice]) -> str:
    """Say what it costs to quantise what is quantised already, "" where nothing is."""
    if not choices:
        return ""
    kinds = Counter(choice.before for choice in choices)
    of = ", ".join(f"{count} of {kind}" for kind, count in kinds.most_common())
    return (
        f"The source is quantised already ({of}): what it has lost is lost, and it loses once more. How much, "
        "`deepseek-tui bench --quality` measures afterwards. The F16 or BF16 file of the same model loses only once."
    )


def fell_back(choices: Sequence[Choice], tensors: int) -> str:
    """Say how many tensors get another type than was wanted, and which."""
    if not choices:
        return ""
    kinds = Counter((choice.wanted, choice.after) for choice in choices)
    which = ", ".join(f"{count} {wanted} → {after}" for (wanted, after), count in kinds.most_common())
    return f"{len(choices)} of {tensors} tensors, whose rows are no multiple of what their type needs: {which}"


def idle(found: Outcome) -> str:
    """Say which rules of a recipe decide nothing in this model, "" where all do."""
    if not found.idle:
        return ""
    which = ", ".join(str(number + 1) for number in found.idle)
    rules, decide = ("rule", "decides") if len(found.idle) == 1 else ("rules", "decide")
    return f"{rules} {which} of the recipe {decide} nothing in this model of {found.shape.layers} layers"


def _opposed(needs: Needs) -> str:
    """Say what is in the way, but for what is said already: too little space, and a loss that has to be allowed."""
    told = [one.title for one in needs.opposed if to_info(one).kind not in {"no_space", "already_quantized"}]
    return ". ".join(told)


def _named(found: Outcome) -> str:
    mix = found.mix
    return f"{mix.name}: {printable(mix.title, 400)}" if mix.title else mix.name


def _from(wanted: Wanted, found: Outcome) -> str:
    what = " ".join(part for part in (memory(found.source_bytes), wanted.quantization) if part)
    if wanted.path is not None:
        return f"{shown_path(wanted.path)} ({what})"
    return f"{printable(wanted.text, 400)} (about {what}, not here yet)"


def _size(found: Outcome) -> str:
    exact = f"{found.size_bytes:,} bytes, " if found.exact else "by rules, without its list of tokens, "
    size = f"{found.size_bytes / 1e9:.2f} GB" if found.size_bytes >= 1e9 else memory(found.size_bytes)
    return f"{size} ({exact}{found.bits_per_weight:.2f} bits a weight)"


def _time(needs: Needs) -> str:
    if needs.seconds is None:
        return needs.problem
    more = ", or as long as the disk takes to read the source" if needs.without_reading else ""
    return f"about {roughly(needs.seconds)} on this machine with {needs.threads} threads{more}"


def _space(needs: Needs) -> str:
    fetched = f", {memory(needs.to_fetch)} of it for the source" if needs.to_fetch else ""
    text = f"{memory(needs.room_bytes)} needed{fetched}"
    if needs.free_bytes is None:
        return text
    missing = needs.room_bytes - needs.free_bytes
    short = f": {memory(missing)} are missing" if missing > 0 else ""
    return f"{text}; {memory(needs.free_bytes)} are free there{short}"


def _unweighed(needs: Needs) -> str:
    lacking = [printable(name) for name in needs.unweighed if name not in _NEVER_WEIGHED]
    if not lacking:
        return ""
    which = ", ".join([*lacking[:2], *(["…"] if len(lacking) > 2 else [])])
    return f"says nothing of {len(lacking)} of the tensors, which are made without it: {which}"


def _cells(row: Row) -> tuple[str, ...]:
    found = row.fit
    layers = "whole" if found.whole else f"{found.gpu_layers}/{found.layers}" if found.output_on_card else "CPU"
    streamed = found.streamed_bytes
    quality = f"{row.quality.kld:.2g}" if row.quality is not None else DASH
    return (
        row.quantization,
        memory(row.size_bytes),
        f"{row.bits_per_weight:.2f}",
        layers if found.fits else "does not fit",
        memory(found.bytes.vram.total) if found.output_on_card else DASH,
        memory(found.bytes.ram.total),
        "none" if streamed == 0 else memory(streamed),
        predicted(found),
        quality,
    )


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    if rows and (found := rows[0].fit):
        yield f"With a context of {found.context:,} tokens and a KV cache of {found.kv_cache}."
    if any(row.quality is not None for row in rows):
        own = "" if rows[0].quality is not None else " Of this mix nobody has published any:"
        yield (
            "KLD is what was published of another model in the same quantisation."
            f"{own or ' What it is here,'} `deepseek-tui bench --quality` measures it."
        )


def _document(wanted: Wanted, found: Outcome, needs: Needs, machine: Machine, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "source": wanted.text,
        "source_path": output.path_text(wanted.path) if wanted.path is not None else None,
        "source_bytes": found.source_bytes,
        "target": output.path_text(wanted.target),
        "recipe": found.mix.name,
        "family": found.family,
        "size_bytes": found.size_bytes,
        "exact": found.exact,
        "bits_per_weight": round(found.bits_per_weight, 4),
        "type_bytes": dict(found.types),
        "tensors": len(found.choices),
        "fell_back": [{"name": one.name, "wanted": one.wanted, "type": one.after} for one in found.fell_back],
        "idle_rules": [number + 1 for number in found.idle],
        "requantized": len(found.twice),
        "estimate_s": needs.seconds,
        "threads": needs.threads,
        "unweighed": needs.unweighed,
        "room_bytes": needs.room_bytes,
        "free_bytes": needs.free_bytes,
        "in_the_way": [msgspec.to_builtins(to_info(one)) for one in needs.opposed],
        "machine": machine.title or None,
        "plans": [_row_document(row) for row in rows],
    }


def _row_document(row: Row) -> dict[str, Any]:
    found = row.fit
    return {
        "quantization": row.quantization,
        "size_bytes": row.size_bytes,
        "bits_per_weight": round(row.bits_per_weight, 4),
        "fits": found.fits,
        "gpu_layers": found.gpu_layers,
        "layers": found.layers,
        "context": found.context,
        "kv_cache": found.kv_cache,
        "vram_bytes": found.bytes.vram.total,
        "ram_bytes": found.bytes.ram.total,
        "ssd_bytes": found.streamed_bytes,
        "tokens_per_second": found.tokens_per_second,
        "only_a_bound": found.only_a_bound,
        "kld_of_another_model": row.quality.kld if row.quality is not None else None,
    }


def _progress(view: JobView) -> dict[str, Any]:
    progress = view.progress
    return {
        "key": view.key,
        "stage": progress.stage,
        "note": progress.note or None,
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
        "left_s": progress.left_s,
    }


def _gone(title: str, view: JobView | None) -> ErrorInfo:
    if view is not None and view.state == "stopped":
        return ErrorInfo("stopped", f"{title} was stopped", "Nothing of it stays, and its source is as it was.")
    what = "Its process was killed, or ended with the machine. Its source is as it was."
    return ErrorInfo("interrupted", f"{title} was interrupted", what, "Begin again: it begins anew.")


def _say_wrapped(text: str, hang: int) -> None:
    columns = min(table.width() or _WIDEST, _WIDEST)
    for line in textwrap.wrap(
        text, columns, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False
    ):
        output.say(line)


def _command(*arguments: str) -> str:
    return shlex.join(["deepseek-tui", "quantize", *arguments])


def _stop(target: Path) -> str:
    return _command("--stop", str(target))
