"""Graphics cards and their memory, as the driver tells it.

NVIDIA through NVML (nvidia-ml-py), AMD through sysfs. A figure that the driver does not give is None or missing and
`GpuReading.problem` says why; nothing here raises. A driver call may hang for ever: screens use `sampler.GpuSampler`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from backends.hardware import gpu_condition

_DRM = Path("/sys/class/drm")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the machine's own process namespace, fixed by Linux (PROC_PID_INIT_INO)."""


class Gpu(msgspec.Struct, frozen=True):
    """One card. Bytes of its own memory; `used_bytes` is everybody's use, `ours_bytes` that of our processes.

    `index` counts within the driver. `ours_bytes` is None where it was not asked for or the driver does not tell.
    `driver` is the driver's name and version. `busy` is the share of time, 0…1, in which it computed; `throttled` are
    reasons why it runs slower than it could. What the driver does not tell is None, or empty.
    """

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    ours_bytes: int | None = None
    driver: str = ""
    busy: float | None = None
    watts: float | None = None
    watts_limit: float | None = None
    celsius: float | None = None
    throttled: tuple[str, ...] = ()


class GpuReading(msgspec.Struct, frozen=True):
    """All cards at one moment. `problem` says what could not be read, "" if nothing is amiss."""

    gpus: tuple[Gpu, ...] = ()
    problem: str = ""


def read_gpus(pids: Collection[int] | None = None, drm: Path = _DRM) -> GpuReading:
    """Read every card's memory; `pids` are the processes whose share is wanted. Never raises, but may block."""
    nvidia, missing = GpuReading(), ""
    try:
        nvidia = _read_nvidia(pids)
    except _NoDriverError as error:
        missing = str(error)
    except Exception as error:  # noqa: BLE001 - the binding may raise anything, and a sensor must not end its reader
        nvidia = GpuReading(problem=f"The NVIDIA driver cannot be read: {type(error).__name__}: {error}")
    amd = _read_amd(drm)
    gpus = nvidia.gpus + amd.gpus
    problem = " ".join(text for text in (nvidia.problem, amd.problem) if text)
    return GpuReading(gpus, problem if gpus or problem else missing)


class _NoDriverError(Exception):
    """There is no NVIDIA driver: a fault only where there is no other card either."""


def _read_nvidia(pids: Collection[int] | None) -> GpuReading:
    try:
        import pynvml
    except ImportError:
        raise _NoDriverError("The package nvidia-ml-py is missing, so NVIDIA cards cannot be read.") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            raise _NoDriverError("No graphics card found: there is no NVIDIA driver here and no AMD card.") from None
        return GpuReading(problem=explained(error))
    try:
        return _read_cards(pynvml, pids)
    finally:
        # A driver that is gone cannot be left in order.
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read_cards(nvml: Any, pids: Collection[int] | None) -> GpuReading:
    try:
        version = f"nvidia {nvml.nvmlSystemGetDriverVersion()}"
    except (nvml.NVMLError, UnicodeDecodeError):
        version = "nvidia"
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        return GpuReading(problem=explained(error))
    if count == 0:
        return GpuReading(problem="The NVIDIA driver is loaded but finds no card.")
    cards, problems = [], []
    for index in range(count):
        try:
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
        except nvml.NVMLError as error:
            problems.append(f"GPU {index}: {explained(error)}")
            continue
        name, doubt = card_name(nvml, device, index)
        if doubt:
            problems.append(doubt)
        if in_slices(nvml, device):
            problems.append(f"GPU {index}: it is divided by MIG; the figures are the whole card's.")
        # What the driver keeps for itself is used as far as anybody else is concerned.
        used = max(0, memory.total - memory.free)
        ours = None if pids is None else _ours(nvml, device, pids)
        now = msgspec.structs.asdict(gpu_condition.of_nvidia(nvml, device))
        cards.append(Gpu(index, name, memory.total, used, memory.free, ours, version, **now))
    return GpuReading(tuple(cards), " ".join(problems))


def card_name(nvml: Any, device: Any, index: int) -> tuple[str, str]:
    """Return the card's name and, if it cannot be read, a sentence that says so."""
    try:
        name = str(nvml.nvmlDeviceGetName(device))
    except (nvml.NVMLError, UnicodeDecodeError):
        return f"NVIDIA GPU {index}", f"GPU {index}: its name cannot be read."
    return "".join(character for character in name if character.isprintable()), ""


def in_slices(nvml: Any, device: Any) -> bool:
    """Say whether a card is divided by MIG."""
    try:
        return bool(nvml.nvmlDeviceGetMigMode(device)[0] == nvml.NVML_DEVICE_MIG_ENABLE)
    except nvml.NVMLError:
        return False


def _ours(nvml: Any, device: Any, pids: Collection[int]) -> int | None:
    """Return the bytes that `pids` hold on a card, None if the driver does not tell (WSL2, old drivers)."""
    if not pids:
        return 0
    found = processes(nvml, device)
    if found is None:
        return None
    # A process that computes and draws is in both lists, with the same figure.
    held: dict[tuple[int, int, int], int | None] = {
        (process.pid, process.gpuInstanceId, process.computeInstanceId): process.usedGpuMemory
        for process in found
        if process.pid in pids
    }
    figures = [figure for figure in held.values() if figure is not None]
    if len(figures) < len(held):
        return None
    if not held and not _pids_are_the_machines():
        return None
    return sum(figures)


def in_use(nvml: Any, device: Any, pids: Collection[int] | None) -> bool | None:
    """Say whether one of `pids` (None: anybody) uses a card, None if the driver does not tell."""
    found = processes(nvml, device)
    if found is None:
        return None
    if any(pids is None or process.pid in pids for process in found):
        return True
    return False if _pids_are_the_machines() else None


def processes(nvml: Any, device: Any) -> list[Any] | None:
    """Return the processes on a card, those that compute and those that draw, None if the driver does not tell.

    Who does both is in it twice, with the same figure.
    """
    found: list[Any] = []
    for read in (nvml.nvmlDeviceGetComputeRunningProcesses_v3, nvml.nvmlDeviceGetGraphicsRunningProcesses_v3):
        try:
            found += read(device)
        except nvml.NVMLError:
            return None
    return found


def _pids_are_the_machines() -> bool:
    """Say whether our process numbers are those that the driver uses: not so in a container."""
    try:
        return _PID_NAMESPACE.stat().st_ino == _FIRST_PID_NAMESPACE
    except OSError:
        return False


def explained(error: Any) -> str:
    """Return an NVML error as a sentence."""
    import pynvml

    sentences = {
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "The NVIDIA driver is installed but not loaded.",
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
            "The NVIDIA driver was updated and its old part still runs: restart the machine."
        ),
        pynvml.NVML_ERROR_NO_PERMISSION: "The NVIDIA driver refuses to tell: no permission.",
        pynvml.NVML_ERROR_NOT_SUPPORTED: "This card does not tell its memory.",
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "The NVIDIA driver is too old to tell.",
        pynvml.NVML_ERROR_GPU_IS_LOST: "The card is lost: it no longer answers its driver. Restart the machine.",
        pynvml.NVML_ERROR_RESET_REQUIRED: "The card has to be reset before it can be used.",
        pynvml.NVML_ERROR_UNKNOWN: "The NVIDIA driver failed without a reason.",
    }
    return sentences.get(error.value, f"The NVIDIA driver reports: {type(error).__name__} ({error.value}).")


def _read_amd(drm: Path) -> GpuReading:
    """Read AMD cards: https://docs.kernel.org/gpu/amdgpu/driver-misc.html, mem_info_vram_*."""
    try:
        cards = sorted(
            (int(card.name[4:]), card / "device") for card in drm.iterdir() if re.fullmatch(r"card\d+", card.name)
        )
    except OSError:
        return GpuReading()
    gpus: list[Gpu] = []
    problems = []
    for number, device in cards:
        if not (device / "mem_info_vram_total").exists():
            continue
        try:
            total = int((device / "mem_info_vram_total").read_text("ascii"))
            used = int((device / "mem_info_vram_used").read_text("ascii"))
        except (OSError, ValueError):
            problems.append(f"AMD card{number}: its memory cannot be read.")
            continue
        name = amd_name(device) or f"AMD card{number}"
        now = msgspec.structs.asdict(gpu_condition.of_amd(device))
        gpus.append(Gpu(len(gpus), name, total, used, max(0, total - used), driver="amdgpu", **now))
    return GpuReading(tuple(gpus), " ".join(problems))


def amd_name(device: Path) -> str:
    """Return the name of a card by its folder, "" if it has none there."""
    try:
        text = (device / "product_name").read_text("utf-8", "replace")
    except OSError:
        return ""
    return "".join(character for character in text.strip() if character.isprintable())
