"""Presets of the user's own, written where the program looks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomli_w


def own_preset(
    home: Path,
    name: str,
    source: str | Path,
    *,
    title: str = "Mine",
    family: str = "DeepSeek-R1-Distill-Qwen-14B",
    quantization: str = "Q4_K_M",
    slot: int | None = None,
    context: int = 8192,
    **options: Any,
) -> Path:
    """Write a preset of llama.cpp; `source` may be a file's path, and `options` are those of the backend."""
    folder = home / "config" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    table = {
        "title": title,
        "backend": "llama_cpp",
        "context": context,
        "model": {"family": family, "quantization": quantization},
        "backends": {"llama_cpp": {"source": f"file:{source}" if isinstance(source, Path) else source, **options}},
    }
    file = folder / f"{name}.toml"
    file.write_text(tomli_w.dumps(table if slot is None else {"slot": slot, **table}), encoding="utf-8")
    return file
