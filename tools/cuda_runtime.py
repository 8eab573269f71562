"""NVIDIA's run-time libraries for a CUDA wheel, on machines with a driver and no toolkit.

The wheel's libraries look for `libcudart` and `libcublas` beside themselves first (their RUNPATH is $ORIGIN), so links
beside them to the libraries of NVIDIA's own Python packages are enough.
"""

from __future__ import annotations

import re
from pathlib import Path

_MISSING = re.compile(r"lib(?:cudart|cublas|cublasLt)\.so\.\d+")


def is_missing(detail: str) -> bool:
    """Say whether a failed import names one of the libraries that NVIDIA's packages bring."""
    return bool(_MISSING.search(detail))


def packages(tag: str) -> list[str]:
    """Return NVIDIA's packages for a wheel tag: "cu124" is CUDA 12.4. From CUDA 13 on their names have no suffix."""
    major, minor = int(tag[2:4]), int(tag[4:])
    suffix = f"-cu{major}" if major < 13 else ""
    return [f"nvidia-cuda-runtime{suffix}=={major}.{minor}.*", f"nvidia-cublas{suffix}=={major}.*"]


def link(site_packages: Path) -> list[str]:
    """Link NVIDIA's libraries beside the engine's. Returns the names that were linked."""
    beside = site_packages / "llama_cpp" / "lib"
    linked = []
    for library in sorted((site_packages / "nvidia").glob("**/lib/lib*.so.*")):
        if _MISSING.fullmatch(library.name):
            place = beside / library.name
            place.unlink(missing_ok=True)
            place.symlink_to(library)
            linked.append(library.name)
    return linked
