"""Which llama-cpp-python suits this machine, and putting it into the environment.

A plain install is CPU-only even beside an NVIDIA card, without a word. Hence: several ways, best first, and each is
tried in a child process before it counts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from tools import build, checks, cuda_runtime, nvidia, pip, wheelhouse
from tools.nvidia import Driver
from tools.say import Trouble, line, loud

NAME = "llama-cpp-python"
# The binding's own index, one for each CUDA version: (major, minor) → tag, newest first.
CUDA_INDEX = "https://abetlen.github.io/llama-cpp-python/whl/"
CUDA_WHEELS = ((13, 2), (13, 0), (12, 5), (12, 4), (12, 3), (12, 2), (12, 1), (11, 8))

NONE_AT_HAND = "no fitting wheel at hand"
Kind = Literal["cuda-wheel", "cuda-build", "wheel", "build"]
Verdict = Literal["gpu", "no-card", "cpu", "broken"]

_NETWORK = re.compile(
    r"connection|timed out|retrying|resolve|unreachable|SSLError|ProxyError|403|Forbidden", re.IGNORECASE
)
_PROBE = """
import json, pathlib, llama_cpp
libraries = pathlib.Path(llama_cpp.__file__).parent / "lib"
print(json.dumps({
    "version": llama_cpp.__version__,
    "gpu": bool(llama_cpp.llama_supports_gpu_offload()),
    "cuda": any(libraries.glob("libggml-cuda*")),
    "site": str(libraries.parent.parent),
}))
"""


class Way(NamedTuple):
    """One way to get the engine: a CUDA wheel of the binding's index (`tag`), or compiling, or any wheel at hand."""

    kind: Kind
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.tag}".rstrip()


class Found(NamedTuple):
    """What an installed engine can do. `detail` says why it is broken; `site` is the folder that it lies in."""

    verdict: Verdict
    version: str = ""
    detail: str = ""
    site: Path = Path()


@dataclass(frozen=True)
class Workshop:
    """Where the work happens: the environment's Python, the pins, the pinned engine version, the log."""

    python: Path
    constraints: Path
    version: str
    log: Path


def ways(driver: Driver | None, nvcc: Path | None) -> list[Way]:
    """Return the ways to an engine for this machine, best first; the last one needs no card."""
    gpu: list[Way] = []
    if driver is not None:
        if driver.cuda:
            gpu += [Way("cuda-wheel", f"cu{a}{b}") for a, b in CUDA_WHEELS if (a, b) <= driver.cuda]
        if nvcc is not None:
            gpu.append(Way("cuda-build"))
    return [*gpu, Way("wheel"), Way("build")]


def probe(python: Path) -> Found:
    """Import the engine in a child process and ask what it can do."""
    try:
        child = subprocess.run([python, "-I", "-c", _PROBE], capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        return Found("broken", detail=str(error))
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or [f"ended with status {child.returncode}"])[-1]
        return Found("broken", detail=last)
    said = json.loads(child.stdout.strip().splitlines()[-1])
    verdict: Verdict = "gpu" if said["gpu"] else "no-card" if said["cuda"] else "cpu"
    return Found(verdict, said["version"], site=Path(said["site"]))


def install(shop: Workshop, driver: Driver | None, nvcc: Path | None) -> str:
    """Install the best engine that works here. Returns "" or a warning if it is less than the machine could have.

    Raises `Trouble` if not even the plain one can be had.
    """
    present = probe(shop.python)
    if present.version == shop.version and present.verdict == ("gpu" if driver else present.verdict):
        return ""
    reasons: list[str] = []
    for way in ways(driver, nvcc):
        if way.kind == "cuda-wheel" and reasons and _NETWORK.search(reasons[-1]):
            continue
        for_card = way.kind.startswith("cuda")
        try:
            wheel = _obtain(shop, way, driver, nvcc)
            found = _put_in(shop, wheel, way) if wheel else Found("broken", detail=NONE_AT_HAND)
        except Trouble as trouble:
            if way.kind == "build":
                raise
            found = Found("broken", detail=trouble.detail or trouble.title)
        if found.verdict == "gpu" or (found.verdict == "cpu" and not for_card):
            return _lacking(driver, nvcc, reasons) if driver and found.verdict != "gpu" else ""
        if found.verdict == "no-card":
            # The build is right and the driver shows no card: no other way would change that.
            return _hidden_card()
        detail = _short(found.detail or "it has no GPU support")
        if for_card or detail != NONE_AT_HAND:
            reasons.append(f"{way}: {detail}")
            line(f"  {way}: {detail}")
    raise Trouble(
        "The engine (llama.cpp) was installed but does not run.",
        "\n".join((*reasons, f"Log: {shop.log}")),
        f"If a kept build is damaged, rm -r {wheelhouse.folder()} and run the same command again.",
    )


def _obtain(shop: Workshop, way: Way, driver: Driver | None, nvcc: Path | None) -> Path | None:
    """Return a wheel for this way, None if there is none to be had."""
    # A kept build fits this processor better than any wheel, and no wheel has the user's own build options.
    kept_build = wheelhouse.find(_key(shop, Way("build"), driver, nvcc))
    if way.kind == "wheel" and (kept_build or os.environ.get("CMAKE_ARGS")):
        return None
    if way.kind in {"cuda-wheel", "wheel"}:
        return _download(shop, way, driver, nvcc)
    kept = wheelhouse.find(_key(shop, way, driver, nvcc))
    if kept:
        line(f"  the engine compiled earlier: {kept}")
        return kept
    return _compile(shop, way, driver, nvcc)


def _key(shop: Workshop, way: Way, driver: Driver | None, nvcc: Path | None) -> str:
    facts = [os.environ.get("CMAKE_ARGS", "")]
    if way.kind.endswith("build") and (flags := build.compiler_flags()):
        facts.append(flags)
    if way.kind == "cuda-build" and driver and nvcc:
        facts += [nvidia.nvcc_version(nvcc), *driver.cards]
    variant = {"cuda-wheel": way.tag, "cuda-build": "cuda", "wheel": "wheel", "build": "cpu"}[way.kind]
    return wheelhouse.key(shop.version, variant, *facts)


def _download(shop: Workshop, way: Way, driver: Driver | None, nvcc: Path | None) -> Path | None:
    said: list[str] = []

    def make(scratch: Path) -> Path:
        arguments = ["download", "--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "15"]
        if way.kind == "cuda-wheel":
            arguments += ["--index-url", CUDA_INDEX + way.tag]
        arguments += ["--dest", str(scratch), f"{NAME}=={shop.version}"]
        status = pip.run(shop.python, arguments, shop.log, see=said.append)
        wheel = next(iter(scratch.glob("*.whl")), None)
        if status != 0 or wheel is None:
            raise FileNotFoundError(NAME)
        return wheel

    if way.kind == "cuda-wheel":
        line(f"  looking for a wheel for {way.tag}")
    try:
        return wheelhouse.keep(_key(shop, way, driver, nvcc), make, _waiting)
    except FileNotFoundError:
        output = "".join(said)
        if way.kind == "cuda-wheel" and _NETWORK.search(output):
            raise Trouble(
                "The index of CUDA wheels cannot be reached.", "no connection to the binding's index"
            ) from None
        return None


def _compile(shop: Workshop, way: Way, driver: Driver | None, nvcc: Path | None) -> Path:
    checks.require_build_tools(wheelhouse.folder())
    options = os.environ.get("CMAKE_ARGS", "")
    if way.kind == "cuda-build":
        options = f"{options} -DGGML_CUDA=on -DCMAKE_CUDA_COMPILER={nvcc}".strip()
        line("  compiling llama.cpp for this machine's card: CUDA takes longer than the figure below")
    else:
        line("  compiling llama.cpp for this machine's processor")

    def make(scratch: Path) -> Path:
        requirement = f"{NAME}=={shop.version}"
        return build.compile_wheel(shop.python, requirement, shop.constraints, options, scratch, shop.log)

    return wheelhouse.keep(_key(shop, way, driver, nvcc), make, _waiting)


def _put_in(shop: Workshop, wheel: Path, way: Way) -> Found:
    """Install `wheel` in place of any other and try it; bring NVIDIA's libraries if only they are missing."""
    pip.run(shop.python, ["uninstall", "-y", NAME], shop.log)
    pip.install(shop.python, [str(wheel)], shop.constraints, shop.log)
    found = probe(shop.python)
    if way.kind != "cuda-wheel" or found.verdict != "broken" or not cuda_runtime.is_missing(found.detail):
        return found
    line("  fetching NVIDIA's run-time libraries (about 600 MB): there is a driver here but no CUDA toolkit")
    pip.install(shop.python, cuda_runtime.packages(way.tag), shop.constraints, shop.log)
    cuda_runtime.link(site_packages(shop.python))
    return probe(shop.python)


def site_packages(python: Path) -> Path:
    """Return the folder that this environment installs into."""
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    return Path(subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip())


def _lacking(driver: Driver, nvcc: Path | None, reasons: list[str]) -> str:
    cuda = f"CUDA {driver.cuda[0]}.{driver.cuda[1]}" if driver.cuda else "of unknown CUDA version"
    warning = "This machine has an NVIDIA driver, but the engine that was installed runs on the processor only."
    remedy = (
        "The card stays idle and answers are many times slower. What to do:\n"
        "  1. install NVIDIA's CUDA toolkit (nvcc), not newer than the driver's CUDA,\n"
        f"     or make the index of CUDA wheels reachable: {CUDA_INDEX}\n"
        "  2. make setup"
    )
    compiler = f"nvcc: {nvcc}" if nvcc else "nvcc: not found, so no CUDA build could be compiled"
    loud(warning, f"Driver: {cuda}; {compiler}", *(f"- {reason}" for reason in reasons), remedy)
    return f"{warning} `make setup` tries again."


def _hidden_card() -> str:
    warning = "The engine has CUDA support, but the driver shows it no card, so it runs on the processor only."
    loud(
        warning, "Check with nvidia-smi (and CUDA_VISIBLE_DEVICES); once a card is shown there, nothing more is needed."
    )
    return warning


def _short(text: str) -> str:
    return " ".join(text.split())[:160]


def _waiting() -> None:
    line("  another set-up is at this engine: waiting for it")
