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
            met &= _beside(source, mix, wanted.threads, wanted.rounds)
    return 0 if met else 1


def _beside(source: Path, mix: Mix, threads: int, rounds: int) -> bool:
    """Measure one type both ways, in turns; say whether the goal is met."""
    ours, waited, theirs, used, used_by_theirs = [], [], [], [], []
    mine, other = source.with_name("ours.gguf"), source.with_name("theirs.gguf")

    def job() -> None:
        told = source.with_name("told")
        told.mkdir(exist_ok=True)
        waits = Waits(told)
        work = msgspec.to_builtins(Quantize(str(source), str(mine), mix, threads=threads))
        began, spent = time.perf_counter(), _processors()
        with waits.report:
            run(work, waits.report, Cancel())
        ours.append(time.perf_counter() - began)
        used.append(_processors() - spent)
        waited.append(waits.finishing - began)

    def tool() -> None:
        began, spent = time.perf_counter(), _processors()
        told = subprocess.run(_command(source, other, mix, threads), check=True, capture_output=True)
        theirs.append(time.perf_counter() - began if _tool() else float(told.stdout))
        used_by_theirs.append(_processors() - spent)

    for number in range(rounds):
        turn: tuple[Callable[[], None], ...] = (job, tool) if number % 2 else (tool, job)
        for path in (mine, other):
            path.unlink(missing_ok=True)
        for one in turn:
            one()
        os.sync()
    same = _weights(mine) == _weights(other)
    ratios = [slow / fast for slow, fast in zip(theirs, waited, strict=True)]
    whole = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
    print(f"\n{mix.name}: the weights of both are {'the same' if same else 'NOT THE SAME'}")
    for title, seconds in (("the tool", theirs), ("ours", ours), ("ours without the disk", waited)):
        print(f"  {title:22} {_spread(seconds)} s")
    for title, seconds in (("processors, the tool", used_by_theirs), ("processors, ours", used)):
        print(f"  {title:22} {_spread(seconds)} s")
    met = same and statistics.median(ratios) >= GOAL
    print(f"  speed of ours          {_spread(ratios)} of the tool's (goal: {GOAL}) {'met' if met else 'MISSED'}")
    print(f"  with the disk          {_spread(whole)}")
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
