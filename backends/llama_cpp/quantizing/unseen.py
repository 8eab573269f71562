"""How long a quantisation will take whose source is not here yet."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from backends.gguf.mixes import Choice
from backends.gguf.recipes import NUMBERS
from backends.gguf.tensors import TYPES
from backends.hardware import read_speed
from backends.hardware.cpu_limits import usable_cpus
from backends.hardware.disk import disk_under
from backends.llama_cpp.quantizing.calibration import Place, Sample
from backends.llama_cpp.quantizing.estimate import Estimate, measured, together

_ROW = 4096
_ANY = "any"
"""No type whose numbers could be read from a file: the engine is tried with random ones."""


def estimate_unseen(
    choices: Sequence[Choice], source_bytes: int, folder: Path, threads: int = 0, *, importance: bool
) -> Estimate:
    """Measure how fast each type is made here of random numbers, and add up. Takes about a second; never raises.

    `folder` is where the source will lie, `threads` 0 all that may be used. True weights may take up to half as long
    again: some types search longer in them.
    """
    weights: Counter[str] = Counter()
    for choice in choices:
        if choice.after != choice.before:
            kind = TYPES[NUMBERS[choice.after]]
            weights[choice.after] += choice.after_bytes // kind.block_bytes * kind.block
    places = {kind: Place("", _ANY, 0, _ROW, _ROW) for kind in weights}
    try:
        rates = measured(Sample(places, threads or usable_cpus(), importance)) if places else {}
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        return Estimate(problem=f"The engine's speed could not be measured: {error}.")
    compute = sum(count / rates[kind] for kind, count in weights.items())
    disk = read_speed.recall(disk_under(folder))
    read = source_bytes / disk.bytes_per_s if disk is not None else None
    return Estimate(together(compute, read or 0.0), compute, read)
