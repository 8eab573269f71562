"""What is known of the distills of DeepSeek-R1 without any file of theirs: shape, quantisations, published quality.

It stands in families.toml, ours and read once, on first use.
"""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

import msgspec

from backends.errors import BackendError
from backends.gguf.mixes import Mix
from backends.gguf.mixing import shape_by_mix
from backends.gguf.recipes import RECIPES, Dimensions, shape_by_recipe
from backends.gguf.shape import Shape
from presets.recipes import known_recipe

FILE = Path(__file__).with_name("families.toml")


class Quality(msgspec.Struct, frozen=True):
    """What a quantisation costs, as published for another model than these: see `source`.

    `kld` is the mean KL divergence from the unquantised model, in nats. `probability_error` is the root mean square
    change of the right token's probability, from 0 to 1. `importance_matrix` says whether that file was made with one.
    """

    kld: float
    probability_error: float
    importance_matrix: bool
    source: str


class _Qualities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    with_matrix: dict[str, tuple[float, float]]
    without_matrix: dict[str, tuple[float, float]]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    families: dict[str, Dimensions]
    quantizations: dict[str, tuple[str, ...]]
    quality: _Qualities


def families() -> tuple[str, ...]:
    """Return the names of all known models, the smallest first."""
    return tuple(_table().families)


def shape_by_rules(family: str, quantization: str) -> Shape | None:
    """Return the shape that a published file has, by llama.cpp's rules; None for an unknown model or recipe.

    `family` is the model's name, in any case and with or without its owner: "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B".
    `quantization` is a publisher's word such as Q4_K_M, in any case, or the name of a mix such as mixed-4-3.
    """
    word = quantization.strip()
    if word.upper() in RECIPES:
        return _shape(_plain(family), word.upper())
    model = dimensions(family)
    mix = known_recipe(word) if model is not None else None
    return _mixed(_plain(family), mix) if mix is not None else None


def dimensions(family: str) -> Dimensions | None:
    """Return what is known of a model's size, None for an unknown one."""
    return _table().families.get(_names().get(_plain(family), ""))


def quantizations(family: str) -> tuple[str, ...]:
    """Return the quantisations in which publishers offer a model, the largest file first; () for an unknown one."""
    return _table().quantizations.get(_names().get(_plain(family), ""), ())


def quality(quantization: str) -> Quality | None:
    """Return what a quantisation costs as far as anybody published it, preferably for a file with importance matrix."""
    name, known = quantization.strip().upper(), _table().quality
    for matrix, table in ((True, known.with_matrix), (False, known.without_matrix)):
        if name in table:
            return Quality(*table[name], matrix, known.source)
    return None


@functools.cache
def _table() -> _Table:
    return msgspec.convert(tomllib.loads(FILE.read_text(encoding="utf-8")), _Table)


@functools.cache
def _names() -> dict[str, str]:
    return {_plain(name): name for name in _table().families}


@functools.lru_cache(maxsize=256)
def _shape(family: str, quantization: str) -> Shape | None:
    name = _names().get(family)
    return None if name is None else shape_by_recipe(_table().families[name], name, quantization)


@functools.lru_cache(maxsize=64)
def _mixed(family: str, mix: Mix) -> Shape | None:
    name = _names()[family]
    try:
        return shape_by_mix(mix, _table().families[name], name)
    except BackendError:
        return None


def _plain(family: str) -> str:
    """Return a model's name for comparison: without its owner, in small letters."""
    return family.strip().rpartition("/")[2].casefold()
