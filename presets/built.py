"""Models that were made on this machine for a preset: where they lie, and the preset that then uses them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from presets.sources import models

if TYPE_CHECKING:
    from presets.schema import Preset

_RUNS = "llama_cpp"


def as_built(preset: Preset) -> Preset:
    """Return a preset as it is: with the model that was made for it, if that is here."""
    if preset.build is None:
        return preset
    file = built_file(preset.model.family, preset.build.recipe)
    if not file.is_file():
        return preset
    runs = preset.backends[_RUNS] | {"source": f"file:{file}"}
    return msgspec.structs.replace(
        preset,
        model=msgspec.structs.replace(preset.model, quantization=preset.build.recipe),
        backends=preset.backends | {_RUNS: runs},
    )


def is_built(preset: Preset) -> bool:
    """Say whether a preset, as the catalogue has it, uses the model that was made for it."""
    if preset.build is None:
        return False
    file = built_file(preset.model.family, preset.build.recipe)
    return bool(preset.backends[_RUNS].get("source") == f"file:{file}")


def built_file(family: str, recipe: str) -> Path:
    """Return where a model lies that was made of `family` by `recipe`, if nobody says another place."""
    return (models() / file_name(family, recipe)).absolute()


def file_name(family: str, recipe: str) -> str:
    """Return what such a file is called: people go by names, for the header calls a mix after what it is based on."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{family.rpartition('/')[2]}-{recipe}").strip("._-")
    return f"{stem[:200]}.gguf"
