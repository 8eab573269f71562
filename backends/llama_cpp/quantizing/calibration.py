"""How fast this machine quantises, measured: `python -P -m backends.llama_cpp.quantizing.calibration`.

The first line of standard input is a Sample; one of Rates leaves over standard output. All threads work at once, on
true weights of the source where these can be read as they are: some types search longer in some numbers.
"""

from __future__ import annotations

import ctypes
import os
import random
import struct
import sys
import threading
import time
from array import array
from pathlib import Path
from typing import Any

import msgspec

from backends.gguf.tensors import TYPES

TRIAL_S = 0.2
WEIGHTS = 128 * 1024
_NUMBERS = {known.name: number for number, known in TYPES.items()}
_FLOATS = {"f32": 4, "f16": 2, "bf16": 2}


class Place(msgspec.Struct, frozen=True):
    """Some rows of the source, with `row` weights of the type `before` each; `offset` is in bytes of the file."""

    path: str
    before: str
    offset: int
    row: int
    rows: int


class Sample(msgspec.Struct, frozen=True):
    """What to try: weights of the source for each type of the result."""

    types: dict[str, Place]
    threads: int
    importance: bool


class Rates(msgspec.Struct, frozen=True):
    """Weights a second by the type that they become, with all threads together."""

    by_type: dict[str, float]


def main() -> int:
    """Measure once; return the exit status."""
    told = os.dup(1)
    os.dup2(2, 1)
    sample = msgspec.json.decode(sys.stdin.buffer.readline(), type=Sample)
    lib = _library()
    rates = {}
    for kind, place in sample.types.items():
        weights = _weights(place)
        rates[kind] = _measured(lib, kind, weights, place.row, sample)
    os.write(told, msgspec.json.encode(Rates(rates)))
    return 0


def _library() -> Any:
    from backends.llama_cpp import binding

    binding.library()
    lib = binding.ggml_base()
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    lib.ggml_quantize_init.restype, lib.ggml_quantize_init.argtypes = None, [ctypes.c_int]
    return lib


def _measured(lib: Any, kind: str, weights: array[float], row: int, sample: Sample) -> float:
    """Return the weights a second that all threads make of a type."""
    number, known = _NUMBERS[kind], TYPES[_NUMBERS[kind]]
    source = (ctypes.c_float * len(weights)).from_buffer(weights)
    importance = (ctypes.c_float * row)(*[1.0] * row) if sample.importance else None
    lib.ggml_quantize_init(number)  # tables, made once
    done = [0] * sample.threads
    begin = time.perf_counter()

    def work(thread: int) -> None:
        room = ctypes.create_string_buffer(len(weights) // known.block * known.block_bytes)
        while time.perf_counter() - begin < TRIAL_S:
            lib.ggml_quantize_chunk(number, source, room, 0, len(weights) // row, row, importance)
            done[thread] += len(weights)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(sample.threads)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return sum(done) / (time.perf_counter() - begin)


def _weights(place: Place) -> array[float]:
    """Return whole rows, from the source where its numbers can be read as they are, else normally distributed ones."""
    count = max(1, min(place.rows, WEIGHTS // place.row)) * place.row
    width = _FLOATS.get(place.before)
    if width is not None:
        with Path(place.path).open("rb") as opened:
            opened.seek(place.offset)
            data = opened.read(count * width)
        if len(data) == count * width:
            return _floats(data, place.before)
    some = random.Random(1)  # noqa: S311 - no secret
    few = array("f", (some.gauss(0, 0.02) for _ in range(16_384)))
    whole = few * (count // len(few) + 1)
    return whole[:count]


def _floats(data: bytes, kind: str) -> array[float]:
    if kind == "f16":
        return array("f", struct.unpack(f"<{len(data) // 2}e", data))
    found = array("f")
    if kind == "bf16":  # the upper half of an f32
        wide = bytearray(2 * len(data))
        wide[2::4], wide[3::4] = data[::2], data[1::2]
        data = bytes(wide)
    found.frombytes(data)
    return found


if __name__ == "__main__":
    sys.exit(main())
