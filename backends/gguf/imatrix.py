"""Importance matrices, which say how much each column of a weight matrix is used: read and checked before they are.

Both forms that llama.cpp's tool writes: GGUF with sums and counts, and its own older one. What a matrix means is in
common/imatrix-loader.cpp and tools/quantize/quantize.cpp: the mean of the squares of what is multiplied by a column.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path

import msgspec

from backends.errors import BadModelFile
from backends.gguf.mixes import Choice, Mix
from backends.gguf.mixing import needs_importance
from backends.gguf.reader import Array, Header, read_header
from backends.gguf.source import FileBytes
from backends.gguf.tensors import MAX_NAME, Tensor
from backends.shown import printable

Values = array
"""Floats of 32 bits (typecode "f"), one for each column of a matrix."""

_SUMS, _COUNTS = ".in_sum2", ".counts"
_KEYS = ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size")
_F32 = 0
_I32 = struct.Struct("<i")
_MAX_BYTES = 1024**3
_MAX_ENTRIES = 32_768
_MAX_TEXT = 4096
_EMBEDDING = "token_embd.weight"


class Importance(msgspec.Struct, frozen=True):
    """An importance matrix by the names of tensors. `chunks` is of how many pieces of text, 0 if the file does not say.

    `dataset` names that text, "" if the file does not say; both are the file's word.
    """

    entries: dict[str, Values[float]]
    chunks: int
    dataset: str


class Fitted(msgspec.Struct, frozen=True):
    """What of a matrix is for one model: `entries` by tensor; `missing` are quantised without, by name."""

    entries: dict[str, Values[float]]
    missing: tuple[str, ...]


def read_importance(path: Path) -> Importance:
    """Read a file of either form. Raises ModelNotFound if there is none, BadModelFile if it is no importance matrix."""
    with FileBytes(path) as source:
        if source.size > _MAX_BYTES:
            raise _bad(path, f"it has {source.size} bytes, more than any importance matrix", "Name the matrix itself.")
        found = _read_gguf(source, path) if source.read(0, 4) == b"GGUF" else _read_legacy(source, path)
    if not found.entries:
        raise _bad(path, "it has no entries", "Fetch or make it again.")
    for name, values in found.entries.items():
        if not all(map(math.isfinite, values)) or min(values) < 0:
            raise _bad(path, f"the entry {printable(name)} has values that are no numbers", "Fetch or make it again.")
    return found


def fitted(
    importance: Importance, path: Path, mix: Mix, choices: Sequence[Choice], headers: Sequence[Header]
) -> Fitted:
    """Return what of a matrix is used for a model whose tensors become `choices`; `path` is for messages.

    Raises BadModelFile if it was made for another model, or lacks an entry without which a tensor would be garbage.
    """
    columns = {one.name: _columns(one) for header in headers for one in header.tensors}
    wanted = [one for one in choices if one.why != "kept" and one.name in columns and one.after != one.before]
    entries = {}
    for choice in wanted:
        values = importance.entries.get(choice.name)
        if values is None:
            continue
        if len(values) == columns[choice.name]:
            entries[choice.name] = values
        elif choice.name != _EMBEDDING:  # its entry is of no use, and often of another length
            what = f"it has {len(values)} values for {choice.name}, which has {columns[choice.name]} columns"
            raise _bad(path, what, "Give the matrix of this very model.")
    missing = tuple(one for one in wanted if one.name not in entries)
    poor = [one for one in missing if needs_importance(mix, one)]
    if poor:
        names = ", ".join(one.name for one in poor[:3]) + (f" and {len(poor) - 3} more" if len(poor) > 3 else "")
        what = f"it has no entry for {names}, and {poor[0].after} is garbage without one"
        raise _bad(path, what, "Give a whole matrix of this model, or choose a recipe with larger types.")
    return Fitted(entries, tuple(one.name for one in missing))


def _columns(tensor: Tensor) -> int:
    """Return how many values an entry has for a tensor: one for each column, of each expert."""
    experts = tensor.shape[2] if len(tensor.shape) > 2 else 1
    return (tensor.shape[0] if tensor.shape else 1) * experts


def _read_gguf(source: FileBytes, path: Path) -> Importance:
    header = read_header(source, path.name)
    if any(key not in header.metadata for key in _KEYS):
        what = "this is a GGUF file, but not an importance matrix: it does not say from how much text it was made"
        raise _bad(path, what, "Name a file that llama-imatrix wrote.")
    if header.missing_bytes:
        raise _bad(path, f"{header.missing_bytes} bytes are missing at its end", "Fetch the file again.")
    tensors = {tensor.name: tensor for tensor in header.tensors}
    entries = {}
    for name in [name.removesuffix(_SUMS) for name in tensors if name.endswith(_SUMS)]:
        sums, counts = (_floats(source, path, header, tensors.get(name + end)) for end in (_SUMS, _COUNTS))
        if not counts or len(sums) % len(counts) or not all(map(math.isfinite, counts)):
            raise _bad(path, f"sums and counts of {name} do not belong together", "Fetch or make it again.")
        entries[name] = _means(sums, counts)
    datasets = header.metadata["imatrix.datasets"]
    texts = [one for one in (datasets.values or ()) if isinstance(one, str)] if isinstance(datasets, Array) else []
    return Importance(entries, header.integer("imatrix.chunk_count") or 0, printable(texts[0]) if texts else "")


def _floats(source: FileBytes, path: Path, header: Header, tensor: Tensor | None) -> Values[float]:
    if tensor is None or tensor.type != _F32:
        what = "sums or counts of an entry are missing" if tensor is None else f"{tensor.name} is not of f32"
        raise _bad(path, what, "Fetch or make it again.")
    return _unpacked(source.read(header.data_offset + tensor.offset, tensor.size or 0))


def _means(sums: Values[float], counts: Values[float]) -> Values[float]:
    """Return sums by counts, one count for each expert; 1 for an expert that was never used."""
    row = len(sums) // len(counts)
    means: Values[float] = array("f")
    for number, each in enumerate(counts):
        count = math.floor(each + 0.5)
        part = sums[number * row : (number + 1) * row]
        means.extend(array("f", [one / count for one in part] if count > 0 else [1.0] * row))
    return means


def _read_legacy(source: FileBytes, path: Path) -> Importance:
    """Read the older form: a number of entries, each with its name, its calls and its sums; then perhaps the text."""
    _check_count(source, path)  # before all of a large file of another kind is read
    data = source.read(0, source.size)
    at = 0

    def number() -> int:
        nonlocal at
        at += _I32.size
        if at > len(data):
            raise _cut(path)
        return int(_I32.unpack_from(data, at - _I32.size)[0])

    def taken(length: int, most: int) -> bytes:
        nonlocal at
        if not 0 <= length <= most:
            raise _bad(path, "this is no importance matrix", "Name a file that llama-imatrix wrote.")
        at += length
        if at > len(data):
            raise _cut(path)
        return data[at - length : at]

    entries = {}
    for _ in range(number()):
        name = taken(number(), MAX_NAME).decode("utf-8", "replace")
        calls, length = number(), number()
        values = _unpacked(taken(4 * length, _MAX_BYTES))
        if not values:
            raise _bad(path, f"the entry {printable(name)} has no values", "Fetch or make it again.")
        entries[name] = array("f", [one / calls for one in values]) if calls > 0 else values
    chunks = number() if at + _I32.size <= len(data) else 0
    dataset = b""
    if at + _I32.size <= len(data):
        length = number()
        dataset = data[at : at + length] if 0 < length <= _MAX_TEXT else b""
    return Importance(entries, max(0, chunks), printable(dataset.decode("utf-8", "replace")))


def _check_count(source: FileBytes, path: Path) -> None:
    """Refuse a file that does not begin with a possible number of entries. Raises BadModelFile."""
    if source.size < _I32.size:
        raise _cut(path)
    if not 0 < _I32.unpack(source.read(0, _I32.size))[0] <= _MAX_ENTRIES:
        raise _bad(path, "this is no importance matrix", "Name a file that llama-imatrix wrote.")


def _unpacked(data: bytes) -> Values[float]:
    values: Values[float] = array("f")
    values.frombytes(data[: len(data) - len(data) % 4])
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _cut(path: Path) -> BadModelFile:
    return _bad(
        path, "it ends in the middle of an entry", "Fetch the file again, or name one that llama-imatrix wrote."
    )


def _bad(path: Path, what: str, hint: str) -> BadModelFile:
    return BadModelFile("The importance matrix cannot be used", f"{printable(path.name, 200)}: {what}", hint)
