"""ExLlamaV2: models in EXL2, GPTQ and FP16 folders, whole on NVIDIA cards."""

from __future__ import annotations

from backends.exllamav2.engine import ExLlamaV2Backend

__all__ = ["ExLlamaV2Backend"]
