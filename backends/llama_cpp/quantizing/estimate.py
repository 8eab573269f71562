"""How long a quantisation will take on this machine: said before the time is spent, from a second's measuring."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import msgspec

from backends.gguf.mixes import Choice
from backends.gguf.tensors import Tensor
from backends.hardware import read_speed
from backends.hardware.cpu_limits import usable_cpus
from backends.hardware.disk import disk_under
from backends.llama_cpp.quantizing.calibration import Place, Rates, Sample
from backends.llama_cpp.quantizing.prepare import Prepared
from backends.llama_cpp.quantizing.source import Source
from backends.llama_cpp.streaming import hold

_PATIENCE_S = 30.0


class Estimate(msgspec.Struct, frozen=True):
    """Seconds, predicted from what was measured here and now: `compute_s` with all threads, `read_s` from the disk.

    `seconds` is what both take together, see `together`. `read_s` is None where this disk was never measured, and then
    nothing of it is in `seconds`. All are None where nothing could be measured; `problem` says why.
    `by_tensor` is how long each takes, by its name.
    """

    seconds: float | None = None
    compute_s: float | None = None
    read_s: float | None = None
    problem: str = ""
    by_tensor: dict[str, float] = {}


def estimate(prepared: Prepared, threads: int = 0) -> Estimate:
    """Measure how fast each type is made here, and add up. Takes about a second; never raises.

    `threads` 0 is all that may be used.
    """
    tensors = _tensors(prepared.source)
    places = _places(prepared.choices, tensors)
    rates: Mapping[str, float] = {}
    if places:
        try:
            rates = measured(Sample(places, threads or usable_cpus(), bool(prepared.weighed)))
        except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
            return Estimate(problem=f"The engine's speed could not be measured: {error}.")
    disk = read_speed.recall(disk_under(prepared.source.first.parent))
    compute = {
        one.name: tensors[one.name].tensor.weights / rates[one.after] if one.after != one.before else 0.0
        for one in prepared.choices
    }
    read = {one.name: one.before_bytes / disk.bytes_per_s if disk is not None else 0.0 for one in prepared.choices}
    compute_s, read_s = sum(compute.values()), sum(read.values())
    return Estimate(
        together(compute_s, read_s),
        compute_s,
        read_s if disk is not None else None,
        by_tensor={name: together(compute[name], read[name]) for name in compute},
    )


def together(compute_s: float, read_s: float) -> float:
    """Return how long both take: the longer one where the system reads ahead while the engine computes."""
    return max(compute_s, read_s) if hold.possible() else compute_s + read_s


class _Lying(msgspec.Struct, frozen=True):
    """A tensor of the source, and where it begins in its file, in bytes."""

    path: str
    begin: int
    tensor: Tensor


def _tensors(source: Source) -> dict[str, _Lying]:
    return {
        tensor.name: _Lying(str(path), header.data_offset + tensor.offset, tensor)
        for path, header in zip(source.parts, source.headers, strict=True)
        for tensor in header.tensors
    }


def _places(choices: Sequence[Choice], tensors: Mapping[str, _Lying]) -> dict[str, Place]:
    """Return where to try each type: in the middle of the largest tensor that becomes it."""
    largest: dict[str, Choice] = {}
    for choice in choices:
        before = largest.get(choice.after, choice)
        if choice.after != choice.before and choice.before_bytes >= before.before_bytes:
            largest[choice.after] = choice
    found = {}
    for kind, choice in largest.items():
        lies = tensors[choice.name]
        row = lies.tensor.shape[0]
        rows = lies.tensor.weights // row
        middle = lies.begin + choice.before_bytes // rows * (rows // 2)
        found[kind] = Place(lies.path, choice.before, middle, row, rows - rows // 2)
    return found


def measured(sample: Sample) -> Mapping[str, float]:
    """Return the weights a second that become each type, measured in a process of its own.

    Raises OSError, SubprocessError, MsgspecError.
    """
    told = subprocess.run(
        [sys.executable, "-P", "-m", "backends.llama_cpp.quantizing.calibration"],
        input=msgspec.json.encode(sample) + b"\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        timeout=_PATIENCE_S + len(sample.types),
        check=True,
    )
    return msgspec.json.decode(told.stdout, type=Rates).by_type
