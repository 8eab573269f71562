"""The job that measures quality: the base's probabilities in groups of chunks, each compared and thrown away again.

Each pass has the engine in a process of its own, and there is one at a time: so it needs the memory of the larger model
alone. All passes over a group read the models anew.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends import file_hash
from backends.base import Cancel, Cancelled
from backends.errors import BackendError, BadModelFile, Problem
from backends.gguf.files import part_names, read_shape
from backends.jobs.report import Report
from backends.jobs.turns import turn
from backends.llama_cpp.model import check_file
from backends.llama_cpp.quality import estimates, known, logprobs, passes, store, texts
from backends.llama_cpp.quality.messages import Based, Compared, Loading, Ready, Request
from backends.llama_cpp.quality.pace import Pace
from backends.quality import kept
from backends.quality.figures import Quality, Scores, Side, Text
from backends.quality.wanted import CONTEXT, Compare
from backends.shown import printable, shown_path, size

_PIECE = 4 * 1024**2
_LEAST_CHUNKS = 2  # as llama-perplexity wants them


class _Text(msgspec.Struct, frozen=True):
    """What is run: `chunks` of `context` tokens. `stored` is where a base's rows lie already, if they do."""

    text: Text
    chunks: tuple[tuple[int, ...], ...]
    context: int
    vocabulary: int
    whole: bool
    notes: tuple[str, ...] = ()
    stored: Path | None = None
    rows_at: int = 0


def run(work: dict[str, Any], report: Report, cancel: Cancel) -> str:
    """Measure one file against another, and keep the result: see `kept`. Raises BackendError, and Cancelled."""
    wanted = msgspec.convert(work, Compare)
    check_file(Path(wanted.model))
    stored = logprobs.is_stored(Path(wanted.base))
    if not stored:
        check_file(Path(wanted.base))
    with turn("quality", report, cancel):
        store.tidy()
        stamps = _stamps(wanted)
        report.stage("looking", "Reading both vocabularies and the text.")
        what = _look_stored(wanted, cancel) if stored else _look(wanted, cancel)
        sides = _hashed(wanted, report, cancel)
        quality = _measured(wanted, what, sides, stamps, report, cancel)
    kept.keep(quality)
    kld, same = quality.figures.kld, quality.figures.same_top
    report.stage(
        "done",
        f"KL divergence {kld.value:.4f} ± {kld.error:.4f}, the same first token for {same.value:.1%} of "
        f"{quality.scored:,} tokens of {quality.text.name}.",
    )
    return ""


def _measured(
    wanted: Compare, what: _Text, sides: tuple[Side, Side], stamps: object, report: Report, cancel: Cancel
) -> Quality:
    engine = known.engine()
    base_facts = (sides[1].sha256, what.text.sha256, what.context, engine)
    progress = store.Progress(store.key(sides[0].sha256, *base_facts))
    what = _with_kept(what, store.key(*base_facts))
    total, chunk = len(what.chunks), logprobs.chunk_bytes(what.context, what.vocabulary)
    further = progress.scores[total:]
    del progress.scores[total:]
    pace = Pace(report, total, chunk, sides[0].size_bytes / max(1, sides[1].size_bytes), based=what.stored is not None)
    pace.resume(len(progress.scores))
    device = ""
    for group, rows, at, told in _groups(wanted, what, len(progress.scores), base_facts, pace, cancel):
        _check_stamps(wanted, stamps)
        chunks = what.chunks[group.start : group.stop]
        request = Request("compare", wanted.model, "", chunks, what.context, rows, at)
        for said in passes.listen(request, cancel):
            match said:
                case Loading(fraction=fraction):
                    pace.loading("comparing", fraction)
                case Ready(device=device):
                    pace.begin("comparing", len(progress.scores))
                case Compared():
                    base = told.get(said.chunk)
                    progress.add(_scores(group.start + said.chunk, said, base))
                    pace.compared(len(progress.scores))
        _check_stamps(wanted, stamps)
        if len(progress.scores) < group.stop:
            raise BackendError("The measurement is incomplete", "The engine ended before the last chunk.")
    scored = sum(len(one.kld) for one in progress.scores)
    quality = Quality(
        *sides,
        what.text,
        engine,
        device,
        what.context,
        total,
        total * what.context,
        scored,
        estimates.figures(progress.scores),
        what.whole,
        time.time(),
        (*what.notes, *_notes(*sides), *(_cut_off(progress.scores) if what.stored is not None else ())),
    )
    if not further:  # else a longer measurement, that was stopped, can still go on
        progress.forget()
    return quality


_Group = tuple[range, int, int, dict[int, Based]]
"""Chunks, the descriptor with the base's rows and where they begin, and what the base said of them before rounding."""


def _groups(
    wanted: Compare, what: _Text, done: int, base_facts: Sequence[object], pace: Pace, cancel: Cancel
) -> Iterator[_Group]:
    """Yield groups of chunks of which the base's rows are there; what is not kept goes when the next is asked for."""
    total, chunk = len(what.chunks), logprobs.chunk_bytes(what.context, what.vocabulary)
    told: dict[int, Based] = {}
    if what.stored is None and wanted.keep:
        what, told = _kept(wanted, what, base_facts, pace, cancel)
    if what.stored is not None:
        descriptor = os.open(what.stored, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if done < total:
                later = {place - done: said for place, said in told.items()}
                yield range(done, total), descriptor, what.rows_at + done * chunk, later
        finally:
            os.close(descriptor)
        return
    at_a_time = max(1, store.room((total - done) * chunk, chunk, wanted.disk_bytes) // chunk)
    while done < total:
        group = range(done, min(done + at_a_time, total))
        with store.nameless() as rows:
            told = _base(wanted, what, group, rows, 0, pace, cancel)
            yield group, rows, 0, told
        done = group.stop


def _kept(
    wanted: Compare, what: _Text, base_facts: Sequence[object], pace: Pace, cancel: Cancel
) -> tuple[_Text, dict[int, Based]]:
    """Let the base write all its rows into a file that stays; return where they are, and what it said of them."""
    total, chunk = len(what.chunks), logprobs.chunk_bytes(what.context, what.vocabulary)
    if total * chunk > wanted.disk_bytes:
        more, fewer = total * chunk / 1e9 + 0.05, wanted.disk_bytes // chunk
        raise BackendError(
            "What is to be kept takes more disk than is allowed",
            f"The base's probabilities of all {total} chunks take {size(total * chunk)}.",
            f"Allow that: --disk {more:.1f}" + (f", or take fewer chunks: --chunks {fewer}" if fewer else ""),
        )
    store.check_room(total * chunk)
    head, name = logprobs.header(what.context, what.vocabulary, what.chunks), store.key(*base_facts)
    with store.keeping(name, head) as rows:
        told = _base(wanted, what, range(total), rows, len(head), pace, cancel)
    return msgspec.structs.replace(what, stored=store.kept_rows(name), rows_at=len(head)), told


def _base(
    wanted: Compare, what: _Text, group: range, rows: int, at: int, pace: Pace, cancel: Cancel
) -> dict[int, Based]:
    """Let the base write its rows for some chunks; return what it said of each."""
    told: dict[int, Based] = {}
    request = Request("base", wanted.base, "", what.chunks[group.start : group.stop], what.context, rows, at)
    for said in passes.listen(request, cancel):
        match said:
            case Loading(fraction=fraction):
                pace.loading("base", fraction)
            case Ready():
                pace.begin("base", group.start)
            case Based():
                told[said.chunk] = said
                pace.based(group.start + len(told))
    if len(told) < len(group):
        raise BackendError("The measurement is incomplete", "The engine ended before the last chunk.")
    return told


def _scores(chunk: int, said: Compared, base: Based | None) -> Scores:
    """Put both sides together. What the base said before its rows were rounded is better, where it is known."""
    base_nll, base_top = (base.nll, base.top) if base is not None else (said.base_nll, said.base_top)
    same = [mine == other for mine, other in zip(said.top, base_top, strict=True)]
    return Scores(chunk, said.kld, said.nll, base_nll, same)


def _look(wanted: Compare, cancel: Cancel) -> _Text:
    """Split the text into tokens with both vocabularies. Raises BackendError where they are not the same."""
    text, content = texts.read(wanted.text)
    model, base = (passes.look(path, content, cancel) for path in (wanted.model, wanted.base))
    if len(model.names) != len(base.names) or model.tokens != base.tokens:
        raise BackendError(
            "The two models do not have the same vocabulary",
            f"{Path(wanted.model).name} has {len(model.names):,} tokens, {Path(wanted.base).name} "
            f"{len(base.names):,}" + (", and they split the text otherwise." if model.tokens != base.tokens else "."),
            "Compare a file with a less quantised one of the same model.",
        )
    chunks = len(base.tokens) // CONTEXT
    if chunks < _LEAST_CHUNKS:
        raise BackendError(
            "The text is too short",
            f"{text.name} has {len(base.tokens):,} tokens; {_LEAST_CHUNKS * CONTEXT:,} are needed.",
            "Name a longer one: --text FILE",
        )
    taken = min(chunks, wanted.chunks or chunks)
    others = sum(mine != other for mine, other in zip(model.names, base.names, strict=True))
    notes = (f"{others:,} of {len(base.names):,} tokens have another name in the two files.",) if others else ()
    each = tuple(tuple(base.tokens[place * CONTEXT : (place + 1) * CONTEXT]) for place in range(taken))
    return _Text(text, each, CONTEXT, len(base.names), taken == chunks, notes)


def _look_stored(wanted: Compare, cancel: Cancel) -> _Text:
    """Take tokens and rows from a file of log-probabilities. Raises BackendError where the model is another's."""
    path = Path(wanted.base)
    stored = logprobs.read_header(path)
    model = passes.look(wanted.model, "", cancel)
    if len(model.names) != stored.vocabulary:
        raise BackendError(
            "The two models do not have the same vocabulary",
            f"{Path(wanted.model).name} has {len(model.names):,} tokens, {path.name} is of a model with "
            f"{stored.vocabulary:,}.",
            "Take the log-probabilities of a less quantised file of the same model.",
        )
    chunks = stored.chunks[: wanted.chunks or None]
    tokens = logprobs.header(stored.context, stored.vocabulary, chunks)
    text = Text(f"the text of {printable(path.name)}", f"sha256:{store.key(tokens)}")
    whole = len(chunks) == len(stored.chunks)
    return _Text(text, chunks, stored.context, stored.vocabulary, whole, (), path, stored.rows_at)


def _with_kept(what: _Text, name: str) -> _Text:
    """Return the same with the rows of an earlier measurement, where they were kept and are of these tokens."""
    if what.stored is not None:
        return what
    path = store.kept_rows(name)
    try:
        found = logprobs.read_header(path)
    except (OSError, Problem):
        return what
    same = (found.context, found.vocabulary, found.chunks[: len(what.chunks)]) == (
        what.context,
        what.vocabulary,
        what.chunks,
    )
    return msgspec.structs.replace(what, stored=path, rows_at=found.rows_at) if same else what


def _hashed(wanted: Compare, report: Report, cancel: Cancel) -> tuple[Side, Side]:
    """Read both models through once, to know them again. Raises BadModelFile, and Cancelled."""
    both = [_parts(wanted.model), _parts(wanted.base)]
    unread = [part for parts in both for part in parts if not file_hash.known_digest(part)]
    if unread:
        report.total(sum(part.stat().st_size for part in unread))
        report.stage("hashing", "Reading the files once, to know them again.")
    done = 0

    def pieces(part: Path) -> Iterator[bytes]:
        nonlocal done
        try:
            with part.open("rb", buffering=0) as file:
                while piece := file.read(_PIECE):
                    if cancel.is_set():
                        raise Cancelled
                    done += len(piece)
                    report.at(done)
                    yield piece
        except OSError as error:
            what = f"{shown_path(part)}: {error.strerror or error}"
            raise BadModelFile(
                "The model file cannot be read", what, "Look at its permissions, and the disk."
            ) from error

    sides = [
        _side(parts, file_hash.of_parts([file_hash.digest(part, functools.partial(pieces, part)) for part in parts]))
        for parts in both
    ]
    return sides[0], sides[1]


def _side(parts: Sequence[Path], sha256: str) -> Side:
    name, total = printable(parts[0].name), sum(part.stat().st_size for part in parts)
    try:
        shape = read_shape(parts[0])
    except (OSError, Problem):
        return Side(name, sha256, total)
    return Side(name, sha256, total, shape.quantization, shape.architecture, shape.layers, shape.hidden)


def _notes(model: Side, base: Side) -> Iterator[str]:
    """Yield what the figures do not mean."""
    if model.sha256 == base.sha256:
        yield "Both are the same file, byte for byte: what differs is rounding."
    elif model.layers and base.layers and (model.layers, model.hidden) != (base.layers, base.hidden):
        yield "These are two different models: the figures say how far apart they are, not what quantising cost."
    elif model.size_bytes > base.size_bytes and base.layers:
        yield "The base is the smaller file: it has a loss of its own, which is not in the figures."


def _cut_off(scores: Sequence[Scores]) -> Iterator[str]:
    """Yield what rows on the disk do not tell of the base."""
    count = sum(nll >= logprobs.WINDOW for one in scores for nll in one.base_nll)
    if count:
        yield (
            f"To {count:,} of the true tokens the base gives less than its file can tell (e^-{logprobs.WINDOW:g}): its "
            "perplexity is higher than here, and the ratio lower."
        )


def _parts(model: str) -> list[Path]:
    path = Path(model)
    return [path.with_name(name) for name in part_names(path.name)]


def _stamps(wanted: Compare) -> list[tuple[int, int, int]]:
    """Return what changes when somebody writes to one of the files. Raises BadModelFile where one is gone."""
    found = []
    for part in (*_parts(wanted.model), *_parts(wanted.base)):
        try:
            status = part.stat()
        except OSError as error:
            what = f"{shown_path(part)}: {error.strerror or error}"
            raise BadModelFile("A part of the model is missing", what, "Fetch it, into the same folder.") from error
        found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return found


def _check_stamps(wanted: Compare, stamps: object) -> None:
    if _stamps(wanted) != stamps:
        raise BadModelFile(
            "A file changed while it was measured",
            f"{Path(wanted.model).name} or {Path(wanted.base).name} is being written just now.",
            "Measure again when it is whole.",
        )
