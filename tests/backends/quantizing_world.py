"""Small models to quantise, and a job's work within the process of the test: what it tells, and what it leaves."""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from backends.base import Cancel
from backends.gguf.files import read_headers
from backends.gguf.mixes import Mix, Rule
from backends.jobs import files
from backends.jobs.job import Progress
from backends.jobs.report import Report
from backends.llama_cpp.quantizing.run import run
from backends.llama_cpp.quantizing.wanted import Quantize
from tests.gguf_files import Model, sparse_model

MIB = 1024**2
SMALL = Model("a small one", "llama", 4, 256, 512, 4, 2, 512, merges=100, head=64)
MIXED = Mix(
    "half-and-half",
    "the first half in 4 bits",
    "Q3_K_S",
    (Rule(("attn_*", "ffn_*"), "q4_K", "0-1"),),
    output="q6_K",
)
# Work for two seconds of one thread: rows of 4 bits are searched for.
LONG = Model("a longer one", "llama", 3, 1024, 2048, 8, 8, 512, merges=100, head=128)
ALL_3 = Mix("all-3", "", "Q3_K_S", ())
ALL_4 = Mix("all-4", "", "Q4_K_S", ())
_F16, _F32 = 1, 0


def write_small(path: Path, model: Model = SMALL, seed: int = 1, recipe: str = "F16") -> Path:
    """Write a model with weights: random F16 numbers of about 0.015, and norms of 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sparse_model(path, model, recipe, small_vocabulary=True)
    mixed = bytearray(random.Random(seed).randbytes(MIB))
    # The exponent is 2^-7, the sign and the mantissa are anything: no infinity, no NaN.
    mixed[1::2] = mixed[1::2].translate(bytes(0x20 | (byte & 0x83) for byte in range(256)))
    (header,) = read_headers(path).values()
    with path.open("r+b") as opened:
        for tensor in header.tensors:
            opened.seek(header.data_offset + tensor.offset)
            left = tensor.size or 0
            if tensor.type == _F32:
                opened.write(array("f", [1.0] * (left // 4)).tobytes())
            while tensor.type == _F16 and left > 0:
                left -= opened.write(mixed[:left])
    return path


class Quantizer:
    """Quantises `source` into `target`, and keeps what was told meanwhile. `cancel` ends it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, folder / "told"
        self.told.mkdir(parents=True)
        self.source, self.target = folder / "in/model-F16.gguf", folder / "out/model.gguf"
        self.cancel = Cancel()
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.done: list[int] = []
        self.meanwhile: Callable[[str, str], object] = lambda stage, note: None

    def wanted(self, **more: Any) -> Quantize:
        given = {"source": str(self.source), "target": str(self.target), "mix": MIXED, **more}
        return Quantize(**given)

    def quantize(self, **more: Any) -> Path:
        """Do it; return the path of the result. Raises what the job's work raises."""
        files.replace(self.told / files.PROGRESS, Progress())
        told = self

        class Listening(Report):
            def stage(self, stage: str, note: str = "") -> None:
                told.stages.append(stage)
                told.notes.append(note)
                super().stage(stage, note)
                told.meanwhile(stage, note)

            def at(self, done: int) -> None:
                told.done.append(done)
                super().at(done)

        with Listening(self.told, self.cancel) as report:
            result = run(msgspec.to_builtins(self.wanted(**more)), report, self.cancel)
            report.end("done", result=result)
        return Path(result)

    @property
    def progress(self) -> Progress:
        return files.read_progress(self.told)

    @property
    def left(self) -> list[str]:
        """The names of all files where the target is to be."""
        return sorted(path.name for path in self.target.parent.glob("*"))

    def types(self) -> dict[str, str]:
        """The types of all tensors of the result."""
        (header,) = read_headers(self.target).values()
        return {tensor.name: tensor.type_name for tensor in header.tensors}


def write_matrix(path: Path, columns: dict[str, int]) -> Path:
    """Write an importance matrix in the older form: one call, and of each tensor the first column alone counts."""
    data = struct.pack("<i", len(columns))
    for name, count in columns.items():
        values = [1000.0] + [0.001] * (count - 1)
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack(f"<ii{count}f", 1, count, *values)
    path.write_bytes(data)
    return path


def split(path: Path) -> list[Path]:
    """Cut a model into two parts as llama-gguf-split does: each has a header of its own."""
    (header,) = read_headers(path).values()
    data, half = path.read_bytes(), len(header.tensors) // 2
    paths = []
    for number, tensors in enumerate((header.tensors[:half], header.tensors[half:])):
        table, weights, offset = b"", b"", 0
        for tensor in tensors:
            size = -(-(tensor.size or 0) // 32) * 32
            begin = header.data_offset + tensor.offset
            table += _text(tensor.name) + struct.pack(
                f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape, tensor.type, offset
            )
            weights += data[begin : begin + (tensor.size or 0)].ljust(size, b"\0")
            offset += size
        own = [
            _text("split.no") + struct.pack("<IH", 2, number),
            _text("split.count") + struct.pack("<IH", 2, 2),
            _text("split.tensors.count") + struct.pack("<Ii", 5, len(header.tensors)),
        ]
        (count,) = struct.unpack_from("<Q", data, 16)
        kept = data[24 : 24 + sum(header.entry_bytes.values())] if number == 0 else b""
        values = len(own) + (count if number == 0 else 0)
        head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), values) + kept + b"".join(own) + table
        paths.append(path.with_name(f"split-{number + 1:05}-of-00002.gguf"))
        paths[-1].write_bytes(head + bytes(-len(head) % 32) + weights)
    return paths


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
