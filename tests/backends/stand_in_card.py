"""The engine's processor in the place of a card: layers, cache and buffers go there as they would to a GPU.

Its name is that of the other side too, so the engine's log does not tell the two apart.
"""

from __future__ import annotations

import pytest

from backends.llama_cpp import binding
from backends.llama_cpp.binding import GpuDevice


def stand_in_card(patch: pytest.MonkeyPatch) -> GpuDevice:
    """Let the engine's processor count as its only GPU, and return it."""
    patch.setattr(binding, "_GPU_DEVICE", 0)
    patch.setattr(binding.library(), "llama_supports_gpu_offload", lambda: True)
    patch.setattr(binding._Loaded, "looked", True)
    (card,) = binding.gpus()
    return card
