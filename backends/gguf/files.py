"""The shape of a model in its file, or in the parts of a split one: `NAME-00001-of-00003.gguf` and so on."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from backends.errors import ModelNotFound
from backends.gguf.problems import BadGguf
from backends.gguf.reader import Header, read_header
from backends.gguf.shape import Part, Shape, shape_of
from backends.gguf.source import Bytes, FileBytes

# llama_split_path of llama.cpp; transformers names the parts of its weights in the same way.
_SPLIT = re.compile(r"(?s)(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf|\.safetensors)")
MAX_PARTS = 1000

Opener = Callable[[str], AbstractContextManager[Bytes]]


def read_shape(path: Path) -> Shape:
    """Read the shape of a model of this machine; `path` is its file, or any part of a split one.

    What was read is kept while the files stay as they are. Raises ModelNotFound if there is no file, BadGguf if it is
    no model, is damaged, ends too early, or if a part is missing.
    """
    names = part_names(path.name)
    return _read(path.parent, tuple((name, _stamp(path.parent / name)) for name in names), path.name)


def shape_from(name: str, open_part: Opener) -> Shape:
    """Read the shape of a model whose file, or any part of it, has this name in its folder.

    `open_part` opens the file with a name in that folder, and raises ModelNotFound if there is none. Raises BadGguf as
    `read_shape` does, and whatever the source raises.
    """
    headers = headers_from(name, open_part)
    return shape_of([Part(part, header.file_size) for part, header in headers.items()], list(headers.values()))


def read_headers(path: Path) -> dict[str, Header]:
    """Read the headers of a model of this machine by the names of its parts, the first part first.

    `path` is its file, or any part of a split one. Raises as `read_shape` does, but for what a header alone may be.
    """
    return headers_from(path.name, lambda part: FileBytes(path.parent / part))


def headers_from(name: str, open_part: Opener) -> dict[str, Header]:
    """Read the headers of all parts as `shape_from` does, by the names of the parts in their order."""
    names = part_names(name)
    with open_part(name) as source:
        headers = {name: read_header(source, name)}
    count = headers[name].integer("split.count") or 1
    if count <= 1:
        names = (name,)
    elif count != len(names):
        what = f"it is one of {count} parts, but its name does not end in -00001-of-{count:05}.gguf or the like"
        raise BadGguf(name, what, title="The parts of the model cannot be found", hint="Give the parts their names.")
    for part in names:
        if part not in headers:
            headers[part] = _sibling(part, count, open_part)
    _check_parts(names, headers)
    return {part: headers[part] for part in names}


def part_names(name: str) -> tuple[str, ...]:
    """Return the names of all parts of a split file in order; of a whole file, or with a strange count, its own."""
    split = _SPLIT.fullmatch(name)
    if split is None or not 0 < int(split["number"]) <= int(split["count"]) <= MAX_PARTS:
        return (name,)
    prefix, count, suffix = split["prefix"], split["count"], split["suffix"]
    return tuple(f"{prefix}-{number:05}-of-{count}{suffix}" for number in range(1, int(count) + 1))


def _sibling(name: str, count: int, open_part: Opener) -> Header:
    try:
        with open_part(name) as source:
            return read_header(source, name)
    except ModelNotFound as error:
        what = f"this part of {count} is not in the folder"
        raise BadGguf(name, what, title="A part of the model is missing", hint="Fetch the missing part.") from error


def _check_parts(names: Sequence[str], headers: dict[str, Header]) -> None:
    """Raise BadGguf if a part is not what its name says, or the parts do not hold all tensors."""
    if len(names) == 1:
        return
    hint = "Fetch all parts of the model again, into one folder."
    for number, name in enumerate(names):
        if headers[name].integer("split.no") != number or headers[name].integer("split.count") != len(names):
            raise BadGguf(name, f"by its content it is not part {number + 1} of {len(names)}", hint=hint)
    claimed = headers[names[0]].integer("split.tensors.count")
    found = sum(len(headers[name].tensors) for name in names)
    if claimed is not None and claimed != found:
        raise BadGguf(names[0], f"its parts hold {found} tensors instead of {claimed}", hint=hint)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return the size in bytes and the time of the last change in ns, None if there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=32)
def _read(folder: Path, _stamps: tuple[tuple[str, tuple[int, int] | None], ...], name: str) -> Shape:
    return shape_from(name, lambda part: FileBytes(folder / part))
