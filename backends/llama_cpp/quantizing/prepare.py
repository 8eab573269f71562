"""What a job of quantising would do, and what is in its way: looked at before it begins, and again when it does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends.errors import BackendError
from backends.gguf.imatrix import fitted, read_importance
from backends.gguf.mixes import Choice
from backends.gguf.mixing import file_type_of, recipe_text, requantized, size_of, types_of
from backends.gguf.shape import RECIPE_KEY
from backends.gguf.tensors import padded
from backends.llama_cpp.quantizing import failures
from backends.llama_cpp.quantizing.overrides import LONGEST_VALUE
from backends.llama_cpp.quantizing.progress import ALIGNMENT
from backends.llama_cpp.quantizing.source import Source, read_source, stamp_of
from backends.llama_cpp.quantizing.wanted import STAYS_FREE_BYTES, Quantize, part_path, resolved


class Prepared(msgspec.Struct, frozen=True):
    """What comes of the source. `size_bytes` is the length of the file that comes out, to the byte.

    `keys` go into its metadata. `weighed` are the tensors for which the importance matrix has an entry, `unweighed`
    those that are quantised without one. `objections` say what is in the way, the weightiest first.
    """

    source: Source
    target: Path
    choices: tuple[Choice, ...]
    file_type: int
    keys: dict[str, str]
    size_bytes: int
    weighed: tuple[str, ...]
    unweighed: tuple[str, ...]
    objections: tuple[BackendError, ...]

    @property
    def types(self) -> dict[str, str]:
        """The type of each tensor that is given one, by its name."""
        return {choice.name: choice.after for choice in self.choices if choice.why != "kept"}

    @property
    def header_bytes(self) -> int:
        """What stands before the tensors of the result."""
        return self.size_bytes - sum(padded(choice.after_bytes, ALIGNMENT) for choice in self.choices)


def prepare(wanted: Quantize) -> Prepared:
    """Read the headers of the source, and decide about each tensor.

    Raises ModelNotFound, BadModelFile, BadOptions where that cannot be done; what is merely in the way is told as
    objections.
    """
    source, target = read_source(Path(wanted.source).absolute()), resolved(wanted.target)
    choices = types_of(wanted.mix, source.headers, importance=bool(wanted.importance))
    keys = {RECIPE_KEY: _fitting(recipe_text(wanted.mix))}
    size = size_of(choices, source.headers, keys)
    weighed: tuple[str, ...] = ()
    unweighed: tuple[str, ...] = ()
    if wanted.importance:
        matrix = Path(wanted.importance).absolute()
        fit = fitted(read_importance(matrix), matrix, wanted.mix, choices, source.headers)
        weighed, unweighed = tuple(fit.entries), fit.missing
    objections = tuple(_objections(wanted, source, target, choices, size))
    return Prepared(source, target, choices, file_type_of(wanted.mix), keys, size, weighed, unweighed, objections)


def free_bytes(place: Path) -> int | None:
    """Return what may still be written where `place` is or would be, None where that cannot be told."""
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        told = os.statvfs(place)
    except OSError:
        return None
    # Some network disks tell nothing but zeros.
    return told.f_bavail * told.f_frsize if told.f_blocks else None


def _fitting(text: str) -> str:
    """Return a recipe's name and digits so that the engine takes them: a long name is cut, the digits are not."""
    name, _, digits = text.rpartition(" ")
    room = LONGEST_VALUE - len(digits.encode()) - 1
    return f"{name.encode()[:room].decode(errors='ignore')} {digits}"


def _objections(
    wanted: Quantize, source: Source, target: Path, choices: tuple[Choice, ...], size: int
) -> Iterator[BackendError]:
    ours = source.identities()
    for path in (target, part_path(target)):
        stamp = stamp_of(path)
        if stamp is not None and stamp.identity in ours:
            part = next(part for part in source.parts if stamp_of(part) == stamp)
            yield failures.target_is_source(path, part)
            return
    if target.is_dir():
        yield failures.target_is_folder(target)
    elif os.path.lexists(target) and not wanted.replace:
        yield failures.target_exists(target)
    if os.path.lexists(f"{part_path(target)}.json"):  # as `backends.hub.part` leaves one
        yield failures.download_there(part_path(target))
    again = requantized(choices)
    if again and not wanted.requantize:
        yield failures.already_quantized(source.first, again)
    free = free_bytes(target.parent)
    begun = stamp_of(part_path(target))
    if free is not None and begun is not None:
        free += begun.size  # it is written over
    if free is not None and free < size + STAYS_FREE_BYTES:
        yield failures.no_room(target.parent, free, size)
