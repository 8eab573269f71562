"""How many threads run a model: as the options say, as measured and remembered, or one for each physical core."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from backends import remembered
from backends.hardware.cpu import cpu_name
from backends.hardware.cpu_limits import allowed_cpus, cpu_quota, usable_cores
from backends.llama_cpp import binding
from backends.llama_cpp.options import LlamaCppOptions

_KIND = "threads"
_Count = Annotated[int, msgspec.Meta(ge=1, le=1024)]


class ThreadCounts(msgspec.Struct, frozen=True):
    """How many threads generate tokens, and how many run prompts."""

    decode: _Count
    prefill: _Count


def default_threads(options: LlamaCppOptions) -> ThreadCounts:
    """Return the numbers without any measurement: as the options say, or one for each physical core."""
    return thread_counts(options, None)


def remembered_threads(options: LlamaCppOptions, path: Path, engine_layers: int) -> ThreadCounts | None:
    """Return what was measured best on this machine for this model and so many layers on the GPU, if it was."""
    if options.threads != "auto":
        return None
    try:
        measured = msgspec.convert(remembered.read(_KIND, _key(options, path, engine_layers)), ThreadCounts)
    except msgspec.ValidationError:
        return None
    return thread_counts(options, measured)


def remember_threads(options: LlamaCppOptions, path: Path, engine_layers: int, measured: ThreadCounts) -> None:
    """Keep what was measured best for `remembered_threads`."""
    remembered.write(_KIND, _key(options, path, engine_layers), msgspec.to_builtins(measured))


def thread_counts(options: LlamaCppOptions, measured: ThreadCounts | None) -> ThreadCounts:
    """Return the numbers that the options ask for, and for "auto" the measured ones or one for each core."""
    if options.threads == "auto":
        counts = measured or ThreadCounts(usable_cores(), usable_cores())
    else:
        counts = ThreadCounts(options.threads, options.threads)
    return counts if options.prefill_threads == "auto" else ThreadCounts(counts.decode, options.prefill_threads)


def _key(options: LlamaCppOptions, path: Path, engine_layers: int) -> str:
    cpus = ",".join(map(str, sorted(allowed_cpus())))
    facts = (cpu_name(), cpus, cpu_quota(), engine_layers, options.prefill_threads)
    return remembered.key_of_model(path, binding.version(), *facts)
