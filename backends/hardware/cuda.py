"""Whether an engine's CUDA build and the driver go together: what each needs or supports, without loading either."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import msgspec

from backends.hardware.shared_libraries import needed

_RUNTIME = re.compile(r"lib(?:cudart|cublas|cublasLt)\.so\.(\d{1,2})")
_MISSING = re.compile(r"(lib[\w.+-]+\.so(?:\.\d+)*): cannot open shared object file")
_OLDEST_DRIVERS = {11: "450.80", 12: "525.60", 13: "580.65"}
"""The first driver of Linux that runs any CUDA of a major version: NVIDIA's CUDA release notes, minor version
compatibility."""


class CudaBuild(msgspec.Struct, frozen=True):
    """An engine's CUDA build. `major` is the CUDA that it needs, None where its libraries do not say."""

    library: str
    major: int | None = None


def llama_folder() -> Path | None:
    """Return where llama.cpp's libraries lie, without importing its binding; None if there are none."""
    named = os.environ.get("LLAMA_CPP_LIB_PATH")
    if named:
        return Path(named)
    try:
        spec = importlib.util.find_spec("llama_cpp")
    except (ImportError, ValueError, AttributeError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "lib" if places else None


def build_in(folder: Path) -> CudaBuild | None:
    """Return the CUDA build in an engine's folder, None if it has no CUDA."""
    try:
        found = sorted(path for path in folder.iterdir() if re.fullmatch(r"libggml-cuda\.so(\.\d+)*", path.name))
    except OSError:
        return None
    if not found:
        return None
    majors = [int(match[1]) for name in needed(found[0]) if (match := _RUNTIME.fullmatch(name))]
    return CudaBuild(found[0].name, max(majors, default=None))


def missing_library(complaint: str) -> str:
    """Return the library that a loader could not find, by its complaint; "" if it complains of something else."""
    match = _MISSING.search(complaint)
    return match[1] if match else ""


def runtime_major(library: str) -> int | None:
    """Return the CUDA version that a library belongs to, None for one that is not of NVIDIA's run time."""
    match = _RUNTIME.fullmatch(library)
    return int(match[1]) if match else None


def oldest_driver(major: int) -> str:
    """Return the first driver version for a major version of CUDA, "" where that is not known here."""
    return _OLDEST_DRIVERS.get(major, "")
