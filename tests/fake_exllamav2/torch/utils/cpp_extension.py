"""Where kernels are compiled, and with what."""

from __future__ import annotations

from exllamav2.world import world

CUDA_HOME: str | None = "/usr/local/cuda"
ROCM_HOME: str | None = None


def _get_build_directory(name: str, verbose: bool) -> str:
    return world.build_folder
