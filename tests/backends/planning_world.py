"""What plans are tried with: shapes of models of their true size, and a machine with an RTX 4060."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import msgspec

from backends.gguf.files import read_shape
from backends.gguf.shape import Shape
from backends.hardware.cpu import Cpu
from backends.hardware.disk import Disk
from backends.hardware.machine import Card, Machine
from backends.hardware.memory import Ram
from backends.hardware.speed import Speed
from tests.gguf_files import Model, sparse_model

MIB, GIB = 1024**2, 1024**3
FREE = round(7.6 * GIB)
GB = 10**9


@functools.cache
def shape_of(model: Model, recipe: str) -> Shape:
    """Return the shape of a model by the header of a file."""
    with tempfile.TemporaryDirectory() as folder:
        return read_shape(sparse_model(Path(folder) / "model.gguf", model, recipe, small_vocabulary=True))


def machine(free: int | None = FREE, ram: int | None = 30 * GIB, **other: object) -> Machine:
    card = Card("RTX 4060", max(8 * GIB, free or 0), free, 0, bandwidth=Speed(272 * GB, "published"))
    described = Machine(
        (card,),
        Ram(None if ram is None else ram + 2 * GIB, ram),
        Speed(51_200_000_000, "published"),
        Cpu(),
        Disk(read=Speed(7 * GB, "published")),
        origin="described",
    )
    return msgspec.structs.replace(described, **other)


def says(sentences: tuple[str, ...], part: str) -> bool:
    return any(part in one for one in sentences)
