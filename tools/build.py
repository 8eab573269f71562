"""Compiling llama-cpp-python from source, with visible progress."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

from tools import checks, pip
from tools.say import Trouble, duration, line

_NINJA = re.compile(r"\[(\d+)/(\d+)\]")
_MAKE = re.compile(r"\[\s*(\d+)%\]")
CORE_MINUTES = 16  # measured: 7.7 minutes of two cores for 0.3.36 on the CPU
LOG_EVERY_S = 30.0
# llama.cpp's kernels for AMX crash where the compiler drops parts of their tile configuration, as GCC up to 12.3 and
# 13.2 does (ggml-org/llama.cpp#20824, GCC PR 114098). Without them it uses AVX-512, the next best.
_WITHOUT_AMX = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"


class Progress:
    """Prints how far a build is: one line that changes on a terminal, a line every half minute elsewhere."""

    def __init__(self, out: TextIO, *, live: bool, every_s: float = LOG_EVERY_S) -> None:
        self._out = out
        self._live = live
        self._every_s = every_s
        self._started = time.monotonic()
        self._printed = self._started
        self._width = 0

    def see(self, text: str) -> None:
        """Take one line of the build's output."""
        step = stage(text)
        now = time.monotonic()
        if step is None or (not self._live and now - self._printed < self._every_s):
            return
        self._printed = now
        row = f"  compiling {step} · {duration(now - self._started)}"
        if self._live:
            self._out.write(f"\r{row:<{self._width}}")
            self._width = len(row)
        else:
            self._out.write(f"{row}\n")
        self._out.flush()

    def end(self) -> None:
        """Leave the changing line."""
        if self._live and self._width:
            self._out.write("\n")
            self._out.flush()


def stage(text: str) -> str | None:
    """Return the step that a line of Ninja's or Make's output names ("12/160", "37 %"), None for any other line."""
    ninja = _NINJA.search(text)
    if ninja:
        return f"{ninja[1]}/{ninja[2]}"
    make = _MAKE.search(text)
    return f"{make[1]} %" if make else None


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler_flags() -> str:
    """Return what a native build for this processor must be compiled with besides llama.cpp's own flags, or ""."""
    compiler = checks.find_compiler()
    if compiler is None:
        return ""
    command = [compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull]
    macros = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return _WITHOUT_AMX if "__AMX_TILE__" in macros else ""


def compile_wheel(python: Path, requirement: str, constraints: Path, cmake_args: str, scratch: Path, log: Path) -> Path:
    """Compile `requirement` with all cores into `scratch` and return the wheel. Raises `Trouble` with the reason.

    pip's cache is left out: it would hand back a build with other CMake options.
    """
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(cores())
    minutes = max(1, round(CORE_MINUTES / cores()))
    line(f"  About 8 minutes on 2 cores; this machine has {cores()}: about {minutes}. It is kept for the next time.")
    line(f"  Log: {log}")
    if shutil.which("cmake") is None:
        line("  CMake is not installed: pip fetches one for this build.")
    temporary = scratch / "tmp"
    temporary.mkdir()
    arguments = ["wheel", "-v", "--no-cache-dir", "--no-deps", "--no-binary", "llama-cpp-python"]
    arguments += ["--build-constraint", str(constraints), "--wheel-dir", str(scratch), requirement]
    environment = {"CMAKE_ARGS": cmake_args, "CMAKE_BUILD_PARALLEL_LEVEL": jobs, "TMPDIR": str(temporary)}
    flags = compiler_flags()
    if flags:
        for name in ("CFLAGS", "CXXFLAGS"):
            environment[name] = f"{os.environ.get(name, '')} {flags}".strip()
    progress = Progress(sys.stdout, live=sys.stdout.isatty())
    try:
        status = pip.run(python, arguments, log, environment, progress.see)
    finally:
        progress.end()
    wheel = next(iter(scratch.glob("*.whl")), None)
    if status != 0 or wheel is None:
        raise Trouble(
            "Compiling the engine (llama.cpp) failed.",
            pip.failure(log, status),
            "If the compiler was killed, memory ran out: CMAKE_BUILD_PARALLEL_LEVEL=1 make run compiles one file at a\n"
            "time. If nothing could be fetched, check the network. Then run the same command again.",
        )
    return wheel
