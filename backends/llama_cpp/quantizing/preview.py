"""What a quantisation would bring, before a job is begun for it."""

from __future__ import annotations

import msgspec

from backends.errors import BackendError
from backends.gguf.mixes import Choice
from backends.gguf.mixing import shape_of_mix
from backends.gguf.shape import Shape
from backends.llama_cpp.quantizing.estimate import Estimate, estimate
from backends.llama_cpp.quantizing.prepare import free_bytes, prepare
from backends.llama_cpp.quantizing.wanted import STAYS_FREE_BYTES, Quantize


class Preview(msgspec.Struct, frozen=True):
    """What comes out: `choices` tensor by tensor, `size_bytes` to the byte, `shape` for a plan.

    `bits_per_weight` counts the tensors alone. `needed_bytes` are to be free on the target's disk, `free_bytes` are,
    None where that cannot be told. `unweighed` are the tensors for which a given importance matrix has no entry.
    `objections` are the errors that a job would end with at once, the weightiest first.
    """

    choices: tuple[Choice, ...]
    shape: Shape
    source_bytes: int
    size_bytes: int
    bits_per_weight: float
    needed_bytes: int
    free_bytes: int | None
    estimate: Estimate
    unweighed: tuple[str, ...]
    objections: tuple[BackendError, ...]


def preview(wanted: Quantize, *, measure: bool = True) -> Preview:
    """Look at the source and decide about each tensor; with `measure` also how long it will take, for another second.

    Raises ModelNotFound, BadModelFile, BadOptions: for a source or a recipe of which nothing can come.
    """
    prepared = prepare(wanted)
    source = prepared.source
    weights = sum(tensor.weights for header in source.headers for tensor in header.tensors)
    bits = 8 * sum(choice.after_bytes for choice in prepared.choices) / weights if weights else 0.0
    return Preview(
        choices=prepared.choices,
        shape=shape_of_mix(wanted.mix, source.headers, prepared.choices),
        source_bytes=sum(header.file_size for header in source.headers),
        size_bytes=prepared.size_bytes,
        bits_per_weight=bits,
        needed_bytes=prepared.size_bytes + STAYS_FREE_BYTES,
        free_bytes=free_bytes(prepared.target.parent),
        estimate=estimate(prepared, wanted.threads) if measure else Estimate(),
        unweighed=prepared.unweighed,
        objections=prepared.objections,
    )
