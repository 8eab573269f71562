"""What a job of quantising is to do."""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.errors import BadOptions
from backends.gguf.mixes import Mix
from backends.jobs.job import JobSpec
from backends.shown import printable

KIND = "quantize"
STAYS_FREE_BYTES = 256 * 1024**2
"""What is left on the target's disk for everything else."""


class Quantize(msgspec.Struct, frozen=True):
    """Make the file `target` out of `source`, a path; of a split model the first part's.

    `importance` is the path of an importance matrix, "" for none. `threads` 0 is all cores that may be used.
    `requantize` allows a source that is quantised already. `replace` lets the result take the place of a file that is
    there, which stays until the new one is whole.
    """

    source: str
    target: str
    mix: Mix
    importance: str = ""
    threads: int = 0
    requantize: bool = False
    replace: bool = False


def job_of(wanted: Quantize) -> JobSpec:
    """Return the job for it. Of two with the same target, by whatever way, there is only one.

    Raises BadOptions for a path that is no text: a job is kept as JSON.
    """
    for path in (wanted.source, wanted.target, wanted.importance):
        if any("\ud800" <= letter <= "\udfff" for letter in path):
            raise BadOptions("This path cannot be used", f"{printable(path, 4096)} is not UTF-8.", "Rename it.")
    source, target = Path(wanted.source).absolute(), resolved(wanted.target)
    importance = str(Path(wanted.importance).absolute()) if wanted.importance else ""
    whole = msgspec.structs.replace(wanted, source=str(source), target=str(target), importance=importance)
    return JobSpec(KIND, str(target), f"{target.name} ({wanted.mix.name})", msgspec.to_builtins(whole))


def resolved(target: str) -> Path:
    """Return where a target will lie: links in its folder followed, its own name kept."""
    path = Path(target).absolute()
    return path.parent.resolve() / path.name


def part_path(target: Path) -> Path:
    """Return where the result lies until it is whole and gets its name."""
    return target.with_name(f"{target.name}.part")
