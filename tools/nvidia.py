"""What the NVIDIA driver of this machine says, without any NVIDIA tool or Python package."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

PROC_VERSION = Path("/proc/driver/nvidia/version")
NVML = "libnvidia-ml.so.1"
# WSL2 keeps the driver's library and nvidia-smi here, and not every distribution has the folder on its search paths.
WSL = Path("/usr/lib/wsl/lib")


class Driver(NamedTuple):
    """An NVIDIA driver. `cuda` is the newest CUDA that it can run, None if it does not say; `cards` are their names."""

    cuda: tuple[int, int] | None
    cards: tuple[str, ...] = ()


def find_driver(nvml: str = NVML, proc_version: Path = PROC_VERSION) -> Driver | None:
    """Return the driver of this machine, None if there is none.

    NVML is asked first, then nvidia-smi; the kernel's file alone proves a driver but not its CUDA version.
    """
    library = _open(nvml)
    if library is not None:
        driver = _ask_nvml(library)
        if driver.cuda:
            return driver
    smi = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=str(WSL))
    cuda = _ask_smi(smi) if smi else None
    if cuda or library is not None or proc_version.exists():
        return Driver(cuda)
    return None


def fingerprint() -> str:
    """Return a text that changes when a driver or a CUDA compiler comes or goes. Wakes no card."""
    try:
        driver = PROC_VERSION.read_text(errors="replace")
    except OSError:
        driver = "library" if _open(NVML) is not None else "none"
    return f"{driver}|{find_nvcc()}"


def find_nvcc() -> Path | None:
    """Return the CUDA compiler, looked for on PATH and where CUDA installs itself."""
    on_path = shutil.which("nvcc")
    if on_path:
        return Path(on_path)
    homes = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda")
    candidates = (Path(home) / "bin" / "nvcc" for home in homes if home)
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def nvcc_version(nvcc: Path) -> str:
    """Return what the compiler says of itself, "" if it does not run."""
    try:
        return subprocess.run(
            [nvcc, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _open(nvml: str) -> ctypes.CDLL | None:
    for name in (nvml, str(WSL / nvml)):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _ask_nvml(library: ctypes.CDLL) -> Driver:
    try:
        if library.nvmlInit_v2() != 0:
            return Driver(None)
        version = ctypes.c_int()
        known = library.nvmlSystemGetCudaDriverVersion(ctypes.byref(version)) == 0
        cards = _cards(library)
        library.nvmlShutdown()
    except AttributeError:  # a library of that name without these functions is no NVML
        return Driver(None)
    # NVML encodes CUDA 12.4 as 12040.
    return Driver((version.value // 1000, version.value % 1000 // 10) if known else None, cards)


def _cards(library: ctypes.CDLL) -> tuple[str, ...]:
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return ()
    names = []
    for index in range(count.value):
        device = ctypes.c_void_p()
        name = ctypes.create_string_buffer(96)
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) != 0:
            continue
        if library.nvmlDeviceGetName(device, name, len(name)) == 0:
            names.append(name.value.decode(errors="replace"))
    return tuple(names)


def _ask_smi(smi: str) -> tuple[int, int] | None:
    try:
        text = subprocess.run([smi], capture_output=True, text=True, check=False, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
