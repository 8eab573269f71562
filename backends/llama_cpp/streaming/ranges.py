"""Where in its files the CPU's part of a model lies, in the order in which a token uses it, and what of it streams."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from backends.gguf.files import part_names
from backends.gguf.reader import Header, read_header
from backends.gguf.shape import MAX_LAYERS
from backends.gguf.source import FileBytes

PAGE_BYTES, FOLIO_BYTES = 4096, 2 * 1024**2
"""The page cache keeps a file in pieces of up to so many bytes at multiples of them, and drops only whole ones
(HPAGE_PMD_ORDER bounds them in the kernel's include/linux/pagemap.h)."""

GRAIN_BYTES = 8 * 1024**2
"""The least that is streamed of a unit, so that the disk reads in long pieces: 8 MiB are 5 ms for 1.5 GB/s."""

_PADDING = 64  # that of a file is 32 bytes, if it does not say otherwise
_BLOCK = re.compile(r"blk\.(\d{1,4})\.(.+)")
# The norm before the output layer, attention's, and that of the feed-forward part: what each of llama.cpp's graphs
# computes first of them, by the names of its nodes (llama-graph.cpp, models/*.cpp).
_OUTPUT_BEGINS = "result_norm"
_HALVES = ("attn_norm-{}", "ffn_norm-{}")


class Span(msgspec.Struct, frozen=True, order=True):
    """Bytes of a file: `start` up to and without `end`. `part` is the file's place among the parts of the model."""

    part: int
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start


class Unit(msgspec.Struct, frozen=True):
    """What a token uses at a stretch: half a layer, or the output layer. `begins` is the engine's node before it.

    `held` stay in memory, `streamed` come from the disk for each token; both are in order.
    """

    begins: str
    held: tuple[Span, ...]
    streamed: tuple[Span, ...] = ()

    @property
    def size(self) -> int:
        return total(self.held) + total(self.streamed)


class Ranges(msgspec.Struct, frozen=True):
    """The files of a model, the units of its CPU's part in order of use, and the weights there that no token reads.

    Those are what went to the card, and of the embedding all but a row.
    """

    parts: tuple[Path, ...]
    units: tuple[Unit, ...]
    idle: tuple[Span, ...]

    @property
    def read_bytes(self) -> int:
        """Return what each token reads of the CPU's part."""
        return sum(unit.size for unit in self.units)


def total(spans: Iterable[Span]) -> int:
    """Return the bytes of all spans."""
    return sum(span.size for span in spans)


def read_headers(path: Path) -> tuple[tuple[Path, ...], tuple[Header, ...]]:
    """Return the files of a model and what stands in front of their weights. Raises what `read_header` raises."""
    parts = tuple(path.with_name(name) for name in part_names(path.name))
    headers = []
    for part in parts:
        with FileBytes(part) as source:
            headers.append(read_header(source, part.name))
    return parts, tuple(headers)


def ranges_of(
    parts: Sequence[Path],
    headers: Sequence[Header],
    blocks: int,
    back: Collection[str] = (),
    *,
    output_here: bool = True,
) -> Ranges:
    """Return where the CPU's part lies: the first `blocks` blocks, of the next one the matrices `back`.

    They are named as in `gguf.shape.FEED_FORWARD`. `output_here` says that the output layer is the CPU's too, and with
    it the embedding where that serves as one.
    """
    named = {tensor.name for header in headers for tensor in header.tensors}
    output = {"output.weight" if "output.weight" in named else "token_embd.weight", "output_norm.weight", "output.bias"}
    used: defaultdict[tuple[int, int], list[Span]] = defaultdict(list)
    idle = []
    for part, header in enumerate(headers):
        for tensor in header.tensors:
            start = header.data_offset + tensor.offset
            span = Span(part, start, start + (tensor.size or 0))
            place = _place(tensor.name, blocks, back, output if output_here else ())
            if place is None:
                idle.append(span)
            else:
                used[place].append(span)
    units = tuple(Unit(_begins(place), tuple(merged(used[place]))) for place in sorted(used))
    return Ranges(tuple(parts), units, tuple(merged(idle)))


def share(ranges: Ranges, streamed_bytes: int) -> Ranges:
    """Return the ranges with about `streamed_bytes` of them streamed, spread evenly over the units.

    So the disk has always something to read while the CPU computes what is held, and a short look ahead is enough.
    """
    whole = ranges.read_bytes
    wanted = min(streamed_bytes, whole)
    passed = streamed = 0
    units = []
    for unit in ranges.units:
        passed += unit.size
        due = -(-passed * wanted // whole) - streamed
        # What is too little to be read at a stretch is left to a later unit.
        if due < min(GRAIN_BYTES, unit.size) and passed < whole:
            due = 0
        units.append(_split(unit, min(due, unit.size)))
        streamed += total(units[-1].streamed)
    return msgspec.structs.replace(ranges, units=tuple(units))


def merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield the same bytes in order, spans with nothing but padding between them as one."""
    last: Span | None = None
    for span in sorted(spans):
        if last is not None and span.part == last.part and span.start < last.end + _PADDING:
            last = Span(last.part, last.start, max(last.end, span.end))
            continue
        if last is not None:
            yield last
        last = span
    if last is not None:
        yield last


def _split(unit: Unit, streamed_bytes: int) -> Unit:
    """Return the unit with its last bytes streamed: they come later in its turn, so the disk has more time.

    Of a large one these are whole pieces of the page cache, so that what is streamed can be given back.
    """
    spans = tuple(merged((*unit.held, *unit.streamed)))
    if streamed_bytes >= unit.size:
        return Unit(unit.begins, (), spans)
    grid = FOLIO_BYTES if unit.size >= 2 * GRAIN_BYTES else PAGE_BYTES
    held, streamed, left = [], [], streamed_bytes
    for span in reversed(spans):
        end = span.end // grid * grid
        start = max(-(-span.start // grid) * grid, (end - max(0, left)) // grid * grid)
        if start >= end:
            held.append(span)
            continue
        streamed.append(Span(span.part, start, end))
        held += [one for one in (Span(span.part, span.start, start), Span(span.part, end, span.end)) if one.size]
        left -= end - start
    return Unit(unit.begins, tuple(sorted(held)), tuple(sorted(streamed)))


def _place(name: str, blocks: int, back: Collection[str], output: Collection[str]) -> tuple[int, int] | None:
    """Return where a tensor comes in the order of use, as block and half of it; None if it is not the CPU's."""
    if name in output:
        return MAX_LAYERS, 0
    found = _BLOCK.fullmatch(name)
    if found is None:
        return None
    block, feeds = int(found[1]), found[2].startswith("ffn_")
    if block < blocks or (block == blocks and found[2].removesuffix(".weight") in back):
        return block, int(feeds)
    return None


def _begins(place: tuple[int, int]) -> str:
    block, half = place
    return _OUTPUT_BEGINS if block == MAX_LAYERS else _HALVES[half].format(block)
