"""The header of a GGUF file: its metadata and its table of tensors, within bounds whatever the file claims.

The layout is that of the specification (ggml/docs/gguf.md), versions 2 and 3, little endian. What llama.cpp refuses is
refused here too. Reading stops after 64 MiB, two million texts in lists, 32,768 tensors or 4 MiB of kept metadata.
"""

from __future__ import annotations

import struct

import msgspec

from backends.gguf.problems import BadGguf
from backends.gguf.source import Bytes, Cursor
from backends.gguf.tensors import MAX_DIMENSIONS, MAX_NAME, Tensor, padded, sized, tensor_size
from backends.shown import printable

# Long enough for any chat template; a whole tokenizer.json is longer and of no use here.
MAX_TEXT = 1024**2
# LLAMA_MAX_LAYERS of llama.cpp: numbers that differ by layer come in lists of that length at most.
MAX_KEPT_NUMBERS, MAX_KEPT_TEXTS = 512, 64
MAX_TENSORS = 32_768
_MAX_KEPT = 4 * 1024**2
_OVERHEAD = 64  # about what a small object of Python takes beside its content
_ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_STRING, _ARRAY = 8, 9
_NUMBERS = {
    kind: struct.Struct(form)
    for kind, form in enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", "", "", "<Q", "<q", "<d"))
    if form
}
_NAMES = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "text", "list", "u64", "i64", "f64")


class Skipped(msgspec.Struct, frozen=True):
    """A text that was too long to keep, by its length in bytes."""

    size: int


class Array(msgspec.Struct, frozen=True):
    """A list: `kind` names the type of its elements, `size` is in bytes, `values` is None if they were not kept."""

    kind: str
    count: int
    size: int
    values: tuple[int | float | str | Skipped, ...] | None = None


Value = int | float | str | Array | Skipped


class Header(msgspec.Struct, frozen=True):
    """What stands before the weights. Text in it comes from the file and may be anything.

    `data_offset` is where the tensor data begins, `file_size` how long the file is, `missing_bytes` how many bytes of
    tensors it lacks at its end, 0 if it is whole. `entry_bytes` is what each key takes with its value.
    """

    version: int
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]
    alignment: int
    data_offset: int
    file_size: int
    missing_bytes: int
    entry_bytes: dict[str, int] = {}

    def integer(self, key: str) -> int | None:
        """Return a value of the metadata that is a whole number and not negative, otherwise None."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def text(self, key: str) -> str:
        """Return a value of the metadata that is text, otherwise ""."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


def read_header(source: Bytes, name: str) -> Header:
    """Read the header of `source`; `name` is for messages. A file cut within its tensors is told, not refused.

    Raises BadGguf for what is no GGUF file of a known version, is damaged, or is beyond every bound; and whatever
    `source` raises.
    """
    cursor = Cursor(source, name)
    version = _version(cursor, source, name)
    tensor_count, value_count = cursor.number(_U64), cursor.number(_U64)
    if tensor_count > MAX_TENSORS:
        raise cursor.bad(f"it claims {tensor_count} tensors, more than any model has")
    metadata, entry_bytes = _Metadata(cursor).read(value_count)
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise cursor.bad("general.alignment is no power of two")
    tensors: dict[str, Tensor] = {}
    for _ in range(tensor_count):
        tensor = _tensor(cursor)
        if tensor.name in tensors:
            raise cursor.bad(f"there are two tensors with the name {printable(tensor.name)}")
        tensors[tensor.name] = tensor
    begin = padded(cursor.position, alignment)
    try:
        table = sized(tuple(tensors.values()), alignment, source.size - begin)
    except ValueError as error:
        raise cursor.bad(str(error)) from error
    missing = begin + table[-1].offset + (table[-1].size or 0) - source.size if table else 0
    return Header(version, metadata, table, alignment, begin, source.size, max(0, missing), entry_bytes)


def _version(cursor: Cursor, source: Bytes, name: str) -> int:
    """Return the version of the format. Raises BadGguf if this is another format, or a version that is not read."""
    title = "This is not a GGUF model"
    if not source.size:
        raise BadGguf(name, "the file is empty", title=title)
    magic = cursor.take(min(4, source.size))
    if magic != b"GGUF":
        what = f"it begins with {magic!r}, not with the letters GGUF"
        raise BadGguf(name, what, 0, title=title, hint="Name a .gguf file in the preset, or fetch the file again.")
    version: int = cursor.number(_U32)
    title = "This version of GGUF is not supported"
    if version and not version & 0xFFFF:
        raise BadGguf(name, "its numbers are big endian", 4, title=title, hint="Fetch the little-endian file.")
    if version in {0, 1}:
        hint = "Fetch a newer file of the same model."
        raise BadGguf(name, f"its version is {version}; 2 and 3 are read", 4, title=title, hint=hint)
    if version > 3:
        raise BadGguf(name, f"its version is {version}; 2 and 3 are read", 4, title=title, hint="Update deepseek-tui.")
    return version


class _Metadata:
    """Reads keys and values while counting what is kept of them."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._left = _MAX_KEPT

    def read(self, count: int) -> tuple[dict[str, Value], dict[str, int]]:
        """Return all values, and the bytes that each takes with its key."""
        metadata: dict[str, Value] = {}
        sizes: dict[str, int] = {}
        for _ in range(count):
            begin = self._cursor.position
            key = self._text(self._cursor.number(_U64))
            if isinstance(key, Skipped):
                raise self._cursor.bad("its metadata is larger than that of any model")
            if not key or key in metadata:
                what = f"the key {printable(key)} is there twice" if key else "a key of its metadata is empty"
                raise self._cursor.bad(what)
            metadata[key] = self._value(key)
            sizes[key] = self._cursor.position - begin
        return metadata, sizes

    def _value(self, key: str) -> Value:
        kind = self._cursor.number(_U32)
        if kind == _ARRAY:
            return self._array(key)
        return self._element(key, kind)

    def _element(self, key: str, kind: int) -> int | float | str | Skipped:
        if kind == _STRING:
            return self._text(self._cursor.number(_U64))
        form = _NUMBERS.get(kind)
        if form is None:
            raise self._cursor.bad(f"{printable(key)} has values of the unknown type {kind}")
        if not self._afford(form.size):
            raise self._cursor.bad("its metadata is larger than that of any model")
        value: int | float = self._cursor.number(form)
        return value

    def _array(self, key: str) -> Array:
        kind, count = self._cursor.number(_U32), self._cursor.number(_U64)
        form = _NUMBERS.get(kind)
        if form is None and kind != _STRING:
            # llama.cpp knows no lists of lists either.
            raise self._cursor.bad(f"{printable(key)} is a list of the unknown type {kind}")
        begin = self._cursor.position
        values = None
        if count <= (MAX_KEPT_NUMBERS if form else MAX_KEPT_TEXTS):
            values = tuple(self._element(key, kind) for _ in range(count))
        elif form:
            self._cursor.skip(count * form.size)
        else:
            self._cursor.skip_strings(count)
        return Array(_NAMES[kind], count, self._cursor.position - begin, values)

    def _text(self, length: int) -> str | Skipped:
        if length <= MAX_TEXT and self._afford(length):
            return self._cursor.take(length).decode("utf-8", "replace")
        self._cursor.skip(length)
        return Skipped(length)

    def _afford(self, size: int) -> bool:
        """Take `size` bytes off what may be kept; say whether they were left."""
        if size + _OVERHEAD > self._left:
            return False
        self._left -= size + _OVERHEAD
        return True


def _tensor(cursor: Cursor) -> Tensor:
    length = cursor.number(_U64)
    if length > MAX_NAME:
        raise cursor.bad(f"the name of a tensor should be {length} bytes long; {MAX_NAME} are the most")
    # Names go into messages as they are; the engine's own are plain.
    name = printable(cursor.take(length).decode("utf-8", "replace"), MAX_NAME)
    dimensions = cursor.number(_U32)
    if dimensions > MAX_DIMENSIONS:
        raise cursor.bad(f"the tensor {name} has {dimensions} dimensions; {MAX_DIMENSIONS} are the most")
    shape = tuple(cursor.number(_U64) for _ in range(dimensions))
    kind, offset = cursor.number(_U32), cursor.number(_U64)
    try:
        return Tensor(name, shape, kind, offset, tensor_size(shape, kind))
    except ValueError as error:
        raise cursor.bad(f"the tensor {name} cannot be: {error}") from error
