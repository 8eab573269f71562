"""A type for each tensor in the engine's own terms: anchored patterns, and C arrays that stay as long as they must."""

from __future__ import annotations

import ctypes
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from backends.gguf.tensors import TYPES

_NUMBERS = {known.name: number for number, known in TYPES.items()}
_LAYER = re.compile(r"blk\.(0|[1-9]\d{0,3})\.([A-Za-z0-9_.-]+)")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_STRING = 3  # LLAMA_KV_OVERRIDE_TYPE_STR
LONGEST_VALUE = 127
"""What a text in the metadata may have in bytes: llama_model_kv_override.val_str has one more for its end."""


class Override(msgspec.Struct, frozen=True):
    """A pattern that fits the names of some tensors and no other's, and the number of their type in ggml."""

    pattern: str
    type: int


def overrides(types: Mapping[str, str]) -> list[Override]:
    """Return patterns that give each tensor its type, as few as there can be: the engine tries one after the other.

    They hold nothing but names that were checked. Raises ValueError with the name that cannot be written so.
    """
    layers: dict[tuple[str, str], list[int]] = defaultdict(list)
    found: list[Override] = []
    for name, kind in types.items():
        if match := _LAYER.fullmatch(name):
            layers[match[2], kind].append(int(match[1]))
        elif _PLAIN.fullmatch(name):
            found.append(Override(f"^{_literal(name)}$", _NUMBERS[kind]))
        else:
            raise ValueError(name)
    roles: dict[tuple[tuple[int, ...], str], list[str]] = defaultdict(list)
    for (role, kind), numbers in layers.items():
        roles[tuple(sorted(numbers)), kind].append(role)
    for (chosen, kind), names in roles.items():
        pattern = rf"^blk\.({_one_of(map(str, chosen))})\.({_one_of(map(_literal, sorted(names)))})$"
        found.append(Override(pattern, _NUMBERS[kind]))
    return found


def _literal(name: str) -> str:
    return name.replace(".", r"\.")


def _one_of(parts: Iterable[str]) -> str:
    return "|".join(parts)


class Params:
    """The engine's parameters for a run, `value`, with everything that they point to."""

    def __init__(self, lib: Any) -> None:
        self.value = lib.llama_model_quantize_default_params()
        self._lib = lib
        self._kept: list[object] = []

    def give_types(self, patterns: Sequence[Override]) -> None:
        """Give the tensors their types; the first pattern that fits decides."""
        array = (self._lib.llama_model_tensor_override * (len(patterns) + 1))()  # the last, empty, ends it
        for entry, override in zip(array, patterns, strict=False):
            entry.pattern, entry.type = override.pattern.encode("ascii"), override.type
        self._keep("tt_overrides", array)

    def give_keys(self, keys: Mapping[str, str]) -> None:
        """Have texts written into the metadata of the result. Raises ValueError for one that is too long."""
        array = (self._lib.llama_model_kv_override * (len(keys) + 1))()
        for entry, (key, text) in zip(array, keys.items(), strict=False):
            value = text.encode()
            if len(value) > LONGEST_VALUE:
                raise ValueError(f"{key} has {len(value)} bytes; {LONGEST_VALUE} are the most")
            entry.tag, entry.key = _STRING, key.encode("ascii")
            entry.value.val_str = value
        self._keep("kv_overrides", array)

    def give_importance(self, matrix: Mapping[str, array[float]]) -> None:
        """Say how much each column of each tensor counts, in floats of 32 bits."""
        array = (self._lib.llama_model_imatrix_data * (len(matrix) + 1))()
        for entry, (name, values) in zip(array, matrix.items(), strict=False):
            numbers = (ctypes.c_float * len(values)).from_buffer(values)
            self._kept.append(numbers)
            entry.name, entry.size = name.encode(), len(values)
            entry.data = ctypes.cast(numbers, ctypes.POINTER(ctypes.c_float))
        self._keep("imatrix", array)

    def _keep(self, field: str, array: Any) -> None:
        setattr(self.value, field, array)
        self._kept.append(array)
