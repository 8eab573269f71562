"""Checks of the engines: which can be used, and above all whether they use the card that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from backends.base import Availability
from backends.hardware import cuda
from backends.hardware.cuda import CudaBuild
from backends.hardware.machine import Card, Machine
from backends.packages import install_command
from backends.planning.speed import CARD_EFFICIENCY, memory_efficiency
from backends.titles import backend_title
from tui.checks.check import Check
from tui.checks.ground import Ground, needed

_ALWAYS = ("llama_cpp",)  # it comes with the installation
_AMD_BYTES = 4_000_000_000
"""A processor's own graphics takes less than this of main memory, unless somebody gave it more."""
_AGAIN = ("--force-reinstall", "--no-deps", "--no-cache-dir", "llama-cpp-python")
_CUDA_BUILD = "make setup   (in the project's folder: fetches or builds llama.cpp for this driver)"
_NO_SUCH_INSTRUCTION = re.compile(r"status -4\b")  # SIGILL


def engines(ground: Ground) -> Iterator[Check]:
    """Each engine, asked in a process of its own. One that no preset needs whose model is here may be missing."""
    if not ground.engines:
        fix = "pip install --force-reinstall deepseek-tui"
        yield Check("backends", "fail", "no backend is installed", fix, "no-engine")
        return
    wanted = {*_ALWAYS, *needed(ground.catalog)}
    for name, found in ground.engines.items():
        title = f"backend: {backend_title(name)}"
        if found.ready:
            yield _ready(name, title, found, ground)
        else:
            what, fix = unusable(name, found)
            if name in wanted:
                yield Check(title, "warn", what, fix, "server-off")
            else:
                yield Check(title, "ok", f"{what} No preset whose model is here needs it.", fix)
    if not any(found.ready for found in ground.engines.values()):
        fix = "make run   (in the project's folder)"
        yield Check("backends", "fail", "no engine can be used", fix, "no-engine")


def unusable(name: str, found: Availability) -> tuple[str, str]:
    """Return why an engine cannot be used and what mends it, in place of what a library's loader says of itself."""
    said, fix = found.detail or "not usable here", found.hint
    if name != "llama_cpp":
        return said, fix
    library = cuda.missing_library(said)
    if library.startswith("libcuda.so"):
        what = f"This build is for NVIDIA cards and finds no driver: {library} is missing."
        return what, f"{driver_fix()}   Without such a card: make setup"
    major = cuda.runtime_major(library)
    if major is not None:
        return f"This build needs the run time of CUDA {major}: {library} is missing.", _CUDA_BUILD
    if library:
        return f"Its libraries need {library}, which is missing.", _rebuilt()
    if "GLIBC" in said:
        return f"This build is for a newer system: {said}", _rebuilt()
    if _NO_SUCH_INSTRUCTION.search(said):
        return "This build uses instructions that this processor does not have.", _rebuilt()
    return said, fix


def _ready(name: str, title: str, found: Availability, ground: Ground) -> Check:
    kind = {True: ", can use the card", False: ", CPU only", None: ""}[found.gpu]
    text = f"{found.version}{kind}"
    card = _unused(ground.machine) if found.gpu is False else None
    if card is None and not (found.gpu is False and found.detail):
        return Check(title, "ok", text)
    build = _cuda_build() if name == "llama_cpp" else None
    why, fix = _idle(found, ground, card, build)
    slower = _predicted(ground.machine, card)
    return Check(title, "warn", " ".join(part for part in (f"{text}: {why}", slower) if part), fix, "card-idle")


def _idle(found: Availability, ground: Ground, card: Card | None, build: CudaBuild | None) -> tuple[str, str]:
    """Return why an engine leaves a card idle, and what mends it."""
    if build is None:
        if card is not None and not _is_nvidia(card):
            return f"It does not use {card.name}.", _rebuilt("-DGGML_VULKAN=on")
        what = found.detail or "There is an NVIDIA card that this build does not use."
        return what, found.hint or "make run"
    driver = ground.nvidia.driver if ground.nvidia is not None else ""
    supported = ground.nvidia.cuda if ground.nvidia is not None else None
    if build.major is not None and supported is not None and supported[0] < build.major:
        newer = cuda.oldest_driver(build.major)
        what = (
            f"This build needs CUDA {build.major}, and the driver {driver} goes up to CUDA "
            f"{supported[0]}.{supported[1]}."
        )
        return what, f"Update the driver{f' to {newer} or newer' if newer else ''}, or: {_CUDA_BUILD}"
    what = f"This is a CUDA build ({build.library}), but it finds no card that it can use."
    return what, "nvidia-smi   (shows whether the driver sees the card; a restart helps after an update of the driver)"


def _unused(machine: Machine) -> Card | None:
    """Return the best card that a CPU build leaves idle."""
    cards = [card for card in machine.gpus if _is_nvidia(card) or card.total_bytes >= _AMD_BYTES]
    return max(cards, key=lambda card: (_is_nvidia(card), card.total_bytes), default=None)


def _predicted(machine: Machine, card: Card | None) -> str:
    """Say how much faster the card would be: a token is as slow as reading the model once."""
    if card is None or card.bandwidth is None or machine.bandwidth is None:
        return ""
    memory = memory_efficiency(machine.bandwidth) * machine.bandwidth.bytes_per_s
    times = CARD_EFFICIENCY * card.bandwidth.bytes_per_s / memory
    return f"The card would be about {times:.0f} times faster (predicted from both memories)." if times >= 2 else ""


def _cuda_build() -> CudaBuild | None:
    folder = cuda.llama_folder()
    return cuda.build_in(folder) if folder is not None else None


def driver_fix() -> str:
    """Return how the NVIDIA driver is installed."""
    return "sudo ubuntu-drivers install   (elsewhere the package nvidia-driver of the distribution), then restart."


def _rebuilt(flags: str = "") -> str:
    """Return the command that builds llama.cpp for this very machine."""
    command = install_command(*_AGAIN)
    return f"{f'CMAKE_ARGS={flags} ' if flags else ''}{command}   (builds it here: some minutes, needs a C++ compiler)"


def _is_nvidia(card: Card) -> bool:
    return card.driver.startswith("nvidia")
