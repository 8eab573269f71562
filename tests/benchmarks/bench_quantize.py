"""Quantising beside the engine's own tool: the same file, types and threads, one after the other, several times.

Run it with `python tests/benchmarks/bench_quantize.py [--layers N] [--rounds N] [--threads N] [--folder FOLDER]`. The
model of 8 layers has 1.1 GB; with the results it takes 2 GB of the folder's disk, and on two cores about five minutes.

The tool is `llama-quantize` of PATH or of LLAMA_QUANTIZE: it must be a build of the same version with the same
instructions. Without one, llama_model_quantize of the installed library is called in a bare process as the tool does,
and only that call is timed. Ours is the whole job: its checks, its own process, what it looks after meanwhile, and
waiting for the disk at the end, which nobody else does; `without the disk` leaves that wait out. The seconds of the
processors, all of theirs beside all of ours, tell also on a machine that has other things to do.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec

from backends.base import Cancel
from backends.gguf.files import read_headers
from backends.gguf.mixes import Mix
from backends.hardware.cpu_limits import usable_cpus
from backends.jobs.report import Report
from backends.llama_cpp.quantizing.run import run
from backends.llama_cpp.quantizing.wanted import Quantize
from tests.streaming_models import write_model

GOAL = 0.95
MIXES = (Mix("Q3_K_S", "", "Q3_K_S", ()), Mix("Q4_K_S", "", "Q4_K_S", ()))
_NUMBERS = {"Q3_K_S": 11, "Q4_K_S": 14}  # llama_ftype in llama.h
_BARE = """
import ctypes, os, sys, time
from llama_cpp import llama_cpp as lib
ignore = lib.llama_log_callback(lambda level, text, data: None)
lib.llama_log_set(ignore, None)
lib.llama_backend_init()
params = lib.llama_model_quantize_default_params()
params.ftype, params.nthread = int(sys.argv[3]), int(sys.argv[4])
began = time.perf_counter()
failed = lib.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(params))
print(time.perf_counter() - began, flush=True)
os._exit(failed)
"""


class Waits:
    """A report of a job that remembers when the file was written and only the disk was waited for."""

    def __init__(self, folder: Path) -> None:
        self.finishing = 0.0
        told = self

        class Listening(Report):
            def stage(self, stage: str, note: str = "") -> None:
                if stage == "finishing":
                    told.finishing = time.perf_counter()
                super().stage(stage, note)

        self.report = Listening(folder, Cancel())


def main(arguments: list[str]) -> int:
    """Print both beside each other; return 1 where ours is slower than the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--folder", type=Path, default=None)
    wanted = parser.parse_args(arguments)
    met = True
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        folder = Path(name)
        os.environ["DEEPSEEK_TUI_HOME"] = str(folder / "home")
        source = write_model(folder / "source.gguf", wanted.layers)
        print(f"{source.stat().st_size / 1e9:.2f} GB of F16, {wanted.threads} threads, {_tool_title()}")
        for mix in MIXES:
            met &= _show(mix.name, beside(source, mix, wanted.threads, wanted.rounds))
    return 0 if met else 1


class Beside(msgspec.Struct, frozen=True):
    """Seconds of each round by the clock, and those that processors have worked. `same` says that the weights are."""

    ours: list[float]
    without_disk: list[float]
    theirs: list[float]
    used: list[float]
    used_by_theirs: list[float]
    same: bool

    @property
    def speeds(self) -> list[float]:
        """How fast ours was, as a share of the tool's speed, round by round."""
        return [theirs / ours for theirs, ours in zip(self.theirs, self.without_disk, strict=True)]

    @property
    def work(self) -> float:
        """What processors did for the tool, as a share of what they did for ours: the least of the rounds each."""
        return min(self.used_by_theirs) / min(self.used)


def beside(source: Path, mix: Mix, threads: int, rounds: int) -> Beside:
    """Measure one mix both ways, in turns."""
    found = Beside([], [], [], [], [], same=False)
    mine, other = source.with_name("ours.gguf"), source.with_name("theirs.gguf")

    def job() -> None:
        told = source.with_name("told")
        told.mkdir(exist_ok=True)
        waits = Waits(told)
        work = msgspec.to_builtins(Quantize(str(source), str(mine), mix, threads=threads))
        began, spent = time.perf_counter(), _processors()
        with waits.report:
            run(work, waits.report, Cancel())
        found.ours.append(time.perf_counter() - began)
        found.used.append(_processors() - spent)
        found.without_disk.append(waits.finishing - began)

    def tool() -> None:
        began, spent = time.perf_counter(), _processors()
        told = subprocess.run(_command(source, other, mix, threads), check=True, capture_output=True)
        found.theirs.append(time.perf_counter() - began if _tool() else float(told.stdout))
        found.used_by_theirs.append(_processors() - spent)

    for number in range(rounds):
        turn: tuple[Callable[[], None], ...] = (job, tool) if number % 2 else (tool, job)
        for path in (mine, other):
            path.unlink(missing_ok=True)
        os.sync()
        for one in turn:
            one()
    return msgspec.structs.replace(found, same=_weights(mine) == _weights(other))


def _show(name: str, found: Beside) -> bool:
    """Print what was measured; say whether the goal is met."""
    print(f"\n{name}: the weights of both are {'the same' if found.same else 'NOT THE SAME'}")
    for title, seconds in (
        ("the tool", found.theirs),
        ("ours", found.ours),
        ("ours without the disk", found.without_disk),
        ("processors, the tool", found.used_by_theirs),
        ("processors, ours", found.used),
    ):
        print(f"  {title:22} {_spread(seconds)} s")
    met = found.same and statistics.median(found.speeds) >= GOAL
    print(f"  speed of ours          {_spread(found.speeds)} of the tool's (goal: {GOAL}) {'met' if met else 'MISSED'}")
    print(f"  work of the tool       {found.work:.3f} of ours")
    return met


def _processors() -> float:
    """Return the seconds that processors have worked for this process and its children that have ended."""
    every = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in every)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _weights(path: Path) -> int:
    """Return a number that differs where the tensors of two results do."""
    (header,) = read_headers(path).values()
    with path.open("rb") as opened:
        opened.seek(header.data_offset)
        return hash(opened.read())


def _tool() -> str | None:
    return os.environ.get("LLAMA_QUANTIZE") or shutil.which("llama-quantize")


def _tool_title() -> str:
    return f"beside {_tool()}" if _tool() else "beside the library, called in a bare process"


def _command(source: Path, target: Path, mix: Mix, threads: int) -> list[str]:
    tool = _tool()
    if tool:
        return [tool, str(source), str(target), mix.base, str(threads)]
    return [sys.executable, "-c", _BARE, str(source), str(target), str(_NUMBERS[mix.base]), str(threads)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
