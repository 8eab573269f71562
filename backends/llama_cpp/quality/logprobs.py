"""Log-probabilities of a whole vocabulary on the disk, as llama-perplexity writes them, and what two rows say together.

A file begins with "_logits_", the context (uint32), the size of the vocabulary and the number of chunks (int32), and
the tokens (int32). Then each scored token has a row: a scale and the least log-probability (float32), and for each
token of the vocabulary 16 bits between that and the most. What is 16 nats below the most counts as that far.
Rounding is at most 16 / 65535 / 2 nats: 0.00012.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends.errors import BackendError, BadModelFile
from backends.shown import shown_path

MAGIC = b"_logits_"
WINDOW = 16.0
_LEVELS = 65535.0
_HEAD = struct.Struct("<8sIii")
_MOST_TOKENS = 1 << 28
_SLACK = 0.1
"""So far from 1 a row's probabilities may be together: what is cut off of a large vocabulary is less than a third."""
_SLICE_BYTES = 4 * 1024**2
"""So much of the logits is worked on at a time: temporaries stay small, and near the processor."""


class Stored(msgspec.Struct, frozen=True):
    """The beginning of such a file; its rows lie from `rows_at` on, each chunk's one after the other."""

    context: int
    vocabulary: int
    chunks: tuple[tuple[int, ...], ...]
    rows_at: int


def first_scored(context: int) -> int:
    """Return the first position of a chunk that is scored: in the half before it there is too little context."""
    return context // 2


def scored(context: int) -> int:
    """Return how many tokens of a chunk are scored: after the last one nothing is known to come."""
    return context - 1 - first_scored(context)


def chunk_bytes(context: int, vocabulary: int) -> int:
    """Return what the rows of one chunk take."""
    return scored(context) * _units(vocabulary) * 2


def is_stored(path: Path) -> bool:
    """Say whether a file begins as such a one does; one that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def header(context: int, vocabulary: int, chunks: Sequence[Sequence[int]]) -> bytes:
    """Return the beginning of a file."""
    tokens = [token for chunk in chunks for token in chunk]
    return _HEAD.pack(MAGIC, context, vocabulary, len(chunks)) + struct.pack(f"<{len(tokens)}i", *tokens)


def read_header(path: Path) -> Stored:
    """Read the beginning of a file. Raises BadModelFile for what is none, or too short; OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        head = file.read(_HEAD.size)
        if not head.startswith(MAGIC):
            raise _bad(path, "it does not begin with the letters _logits_")
        if len(head) < _HEAD.size:
            raise _bad(path, "it ends too early")
        _, context, vocabulary, chunks = _HEAD.unpack(head)
        if not (context >= 4 and vocabulary > 0 and chunks > 0 and context * chunks <= _MOST_TOKENS):
            raise _bad(path, "its first numbers make no sense")
        rows_at = _HEAD.size + 4 * context * chunks
        if size < rows_at + chunks * chunk_bytes(context, vocabulary):
            raise _bad(path, "it ends too early")
        tokens = struct.unpack(f"<{context * chunks}i", file.read(4 * context * chunks))
    if not all(0 <= token < vocabulary for token in tokens):
        raise _bad(path, "it has tokens that its vocabulary does not have")
    each = tuple(tokens[place : place + context] for place in range(0, len(tokens), context))
    return Stored(context, vocabulary, each, rows_at)


def coded(logits: Any) -> bytes:
    """Return the rows of `logits`, an array of float32 with a line for each position."""
    import numpy as np

    parts = []
    for lines in _slices(logits):
        most = lines.max(1)
        least = np.maximum(lines.min(1), most - np.float32(WINDOW))
        scale = (most - least) / np.float32(_LEVELS)
        steps = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
        rows = np.zeros((len(lines), _units(lines.shape[1])), "<u2")
        rows[:, :4] = np.stack([scale, least - most - _log_sum(lines, most)], 1).astype("<f4").view("<u2")
        levels = np.rint((lines - least[:, None]) * steps[:, None])
        rows[:, 4 : 4 + lines.shape[1]] = np.clip(levels, 0, _LEVELS)
        parts.append(rows.tobytes())
    return b"".join(parts)


def decoded(rows: bytes, vocabulary: int) -> Any:
    """Return the log-probabilities of rows, as float32 with a line for each."""
    import numpy as np

    found = np.frombuffer(rows, "<u2").reshape(-1, _units(vocabulary))
    head = np.ascontiguousarray(found[:, :4]).view("<f4")
    return head[:, :1] * found[:, 4 : 4 + vocabulary] + head[:, 1:]


class Chosen(msgspec.Struct, frozen=True):
    """Of each line: -log of the true token's probability, and which token is the most probable."""

    nll: list[float]
    top: list[int]


def chosen(logits: Any, targets: Sequence[int]) -> Chosen:
    """Score `logits` by the tokens that come next in truth. Raises BackendError where they are no numbers."""
    import numpy as np

    places = np.arange(len(targets))
    most = logits.max(1)
    log_sum = np.concatenate([_log_sum(lines, lines.max(1)) for lines in _slices(logits)])
    nll = most.astype("f8") + log_sum - logits[places, list(targets)]
    _check_numbers(nll)
    return Chosen(nll.tolist(), logits.argmax(1).tolist())


def divergence(logits: Any, rows: bytes, targets: Sequence[int]) -> tuple[list[float], Chosen]:
    """Return for each line the KL divergence from the coded base, in nats, and what the base's rows say themselves.

    Σ p (log p - log q) over all tokens to which the base gives more than e^-16. Raises BackendError for no numbers, and
    for rows whose probabilities are not 1 together.
    """
    import numpy as np

    found: list[float] = []
    base = Chosen([], [])
    length = _units(logits.shape[1]) * 2
    done = 0
    for lines in _slices(logits):
        p = decoded(rows[done * length : (done + len(lines)) * length], lines.shape[1])
        most = lines.max(1)
        q = lines - (most + _log_sum(lines, most))[:, None]
        counts = p > -WINDOW
        weights = np.exp(p)
        _check_sums(np.where(counts, weights, 0).sum(1))
        parts = np.where(counts, weights * (p - q), 0)
        kld = parts.sum(1, dtype="f8")
        _check_numbers(kld)
        found += kld.tolist()
        wanted = list(targets[done : done + len(lines)])
        base.nll.extend((-p[np.arange(len(lines)), wanted].astype("f8")).tolist())
        base.top.extend(p.argmax(1).tolist())
        done += len(lines)
    return found, base


def _log_sum(lines: Any, most: Any) -> Any:
    """Return log Σ exp(x - most) of each line, as float32."""
    import numpy as np

    return np.log(np.exp(lines - most[:, None]).sum(1, dtype="f8")).astype("f4")


def _slices(logits: Any) -> list[Any]:
    lines = max(1, _SLICE_BYTES // (4 * logits.shape[1]))
    return [logits[place : place + lines] for place in range(0, len(logits), lines)]


def _units(vocabulary: int) -> int:
    """Return the length of a row in units of 16 bits: two floats, and an even number of levels."""
    return 2 * ((vocabulary + 1) // 2) + 4


def _check_numbers(values: Any) -> None:
    import numpy as np

    if not np.isfinite(values).all():
        raise BackendError(
            "The model gives no probabilities",
            "What it computes is infinite or not a number: its file may be damaged.",
            "Fetch or build the file again.",
        )


def _check_sums(sums: Any) -> None:
    import numpy as np

    if not (np.abs(sums - 1) < _SLACK).all():
        raise BackendError(
            "The base's probabilities are damaged",
            f"Those of all tokens are {float(sums[np.abs(sums - 1).argmax()]):.3g} together, and should be 1.",
            "Write their file again, or measure against the model itself.",
        )


def _bad(path: Path, what: str) -> BadModelFile:
    return BadModelFile(
        "This is no file of log-probabilities", f"{shown_path(path)}: {what}.", "Write it again with llama-perplexity."
    )
