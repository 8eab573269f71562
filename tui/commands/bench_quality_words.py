"""What `bench --quality` says: how far it is, the figures with their errors, and how to go on; or JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from backends.errors import ErrorInfo
from backends.jobs.job import JobView
from backends.shown import shown_path
from tui.chat.clean import clean_line
from tui.commands import output, table
from tui.units import DASH, duration, memory, share_text

if TYPE_CHECKING:
    from backends.quality.figures import Estimate, Quality, Side

_ERASE = "\r\x1b[K"
_STAGES = {
    "queued": "waits for another measurement",
    "looking": "reading both vocabularies and the text",
    "hashing": "reading the files once, to know them again",
    "base": "running the base",
    "comparing": "running the model, and comparing",
}
_HINT = (
    "A saved answer of the base is nearer to what a thinking model is used for than a book: --text FILE. "
    "`deepseek-tui chats export` writes one."
)


class Words:
    """Says it to a person or to a program."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._terminal = output.is_terminal(2) and not as_json
        self._drawn = False
        self._stage = ""

    def progress(self, view: JobView) -> None:
        """Show how far it is: a line that is written over on a terminal, else one for each stage."""
        if self._terminal:
            self._drawn = True
            self._write(_ERASE + table.fitted(clean_line(line(view)), _columns() - 1))
        elif not self._json and view.progress.stage != self._stage and view.progress.stage in _STAGES:
            self._write(f"{_STAGES[view.progress.stage]}\n")
        self._stage = view.progress.stage

    def attached(self, view: JobView) -> None:
        if not self._json:
            output.warn(f"{view.spec.title} is being measured already.")

    def detached(self, view: JobView) -> None:
        if self._json:
            output.say_json({"key": view.key, "pid": view.pid})
        else:
            output.say(f"It is measured in the background. The same command watches it; {_stop(view.key)}")

    def left(self, key: str) -> None:
        """Tell that it goes on without anybody watching."""
        self.clear()
        output.warn(f"It goes on in the background. The same command watches it; {_stop(key)}")

    def ended(self, view: JobView | None) -> int:
        """Tell how it ended without a result; return the exit status."""
        self.clear()
        stays = "What is measured of it stays: the same command goes on from there."
        if view is not None and view.state == "stopped":
            output.say_error(ErrorInfo("stopped", "The measurement was stopped", stays))
            return output.STOPPED
        error = view.progress.error if view is not None else None
        output.say_error(error or ErrorInfo("interrupted", "The measurement was interrupted", stays))
        return output.FAILED

    def result(self, quality: Quality, *, before: bool = False) -> None:
        """Print the figures; `before` says that they were not measured just now."""
        self.clear()
        if self._json:
            output.say_json(plain(quality))
            return
        for text in lines(quality, table.width(), before=before):
            output.say(text)

    def kept(self, rows: Path | None) -> None:
        """Tell where the base's probabilities stay, and how they go."""
        if rows is not None and not self._json:
            taken = f" ({memory(rows.stat().st_size)})" if rows.exists() else ""
            output.say(f"The base's probabilities stay{taken} until you remove them: {shown_path(rows)}")

    def clear(self) -> None:
        """Take the line back, before anything else is written to the same terminal."""
        if self._drawn:
            self._drawn = False
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        try:
            os.write(2, text.encode(errors="replace"))
        except OSError:
            self._terminal = False


def line(view: JobView) -> str:
    """Return how far a measurement is, in one line."""
    progress = view.progress
    parts = ["stopping" if view.stopping else progress.note.removesuffix(".") or progress.stage]
    if progress.total_bytes and progress.stage in {"hashing", "base", "comparing"}:
        parts.append(share_text(progress.done_bytes, progress.total_bytes))
    if progress.left_s is not None:
        parts.append(f"about {duration(progress.left_s)} left")
    return " · ".join(parts)


def plain(quality: Quality) -> dict[str, Any]:
    """Return everything that was measured, with names that stay."""
    found: dict[str, Any] = msgspec.to_builtins(quality)
    figures = found.pop("figures")
    return {**found, **figures, "of_one_model": quality.of_one_model}


def lines(quality: Quality, columns: int | None, *, before: bool = False) -> Iterator[str]:
    """Yield the lines of a measurement."""
    found = quality.figures
    yield f"{quality.model.file} against {quality.base.file}"
    yield from (f"  {text}" for text in (_side("model", quality.model), _side("base", quality.base)))
    yield (
        f"  text   {quality.text.name}: {quality.chunks:,} chunks of {quality.context_tokens} tokens, "
        f"{quality.scored:,} of {quality.tokens:,} scored"
    )
    yield f"  engine {quality.engine} · {quality.device or DASH}"
    yield ""
    rows = [
        ("KL divergence, mean", *_value(found.kld, 4), "0 is the base itself; in nats"),
        ("KL divergence, 99 %", *_value(found.kld_99, 3), "of 100 tokens one is above"),
        ("KL divergence, most", f"{found.kld_max:.3f}", "", "of all tokens"),
        ("same first token", *_value(found.same_top, 2, 100, " %"), "both would write the same"),
        ("perplexity", *_value(found.perplexity, 3), "of this file on this text"),
        ("perplexity of the base", *_value(found.base_perplexity, 3), ""),
        ("ratio of both", *_value(found.perplexity_ratio, 4), "1 is no loss"),
        ("change of probability", *_value(found.probability_change, 2, 100, " %"), "of the true token, rms"),
    ]
    yield from table.table(("", "VALUE", "±", ""), rows, columns, spare=(3,))
    yield ""
    for note in quality.notes:
        yield f"note: {note}"
    if before:
        yield "note: Measured before with the very same files: --again measures once more."
    yield "± is one standard error: the larger of the one over tokens and the one over chunks."
    if quality.text.name.startswith("Newton"):
        yield _HINT


def _side(name: str, side: Side) -> str:
    kind = " ".join(part for part in (side.quantization, memory(side.size_bytes)) if part)
    return f"{name:<6} {kind} · {side.sha256}"


def _value(estimate: Estimate, digits: int, scale: float = 1, unit: str = "") -> tuple[str, str]:
    return f"{scale * estimate.value:.{digits}f}{unit}", f"{scale * estimate.error:.{digits}f}{unit}"


def _stop(key: str) -> str:
    return f"`deepseek-tui stop {key}` ends it, and what is measured stays."


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
