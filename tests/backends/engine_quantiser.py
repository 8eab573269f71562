"""llama.cpp's own quantiser, asked through its library: what it would do with a file, or what it does."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from backends.gguf.files import read_shape
from backends.gguf.mixes import Choice
from backends.gguf.recipes import NUMBERS
from backends.llama_cpp import binding

ENDS = ("output.weight", "token_embd.weight")
_TENSOR = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[.*\], type = +(\w+), size = .*?(?:\((\w+)\))?$")
_TOTAL = re.compile(r"quant size += +([\d.]+) MiB")
_TEXT = 3  # LLAMA_KV_OVERRIDE_TYPE_STR


class Said(msgspec.Struct, frozen=True):
    """The type of each tensor by name, the sum of all in MiB to two decimals, and all that it wrote."""

    types: dict[str, str]
    mib: float
    text: str


def quantise(
    source: Path,
    target: Path | None,
    file_type: int,
    *,
    choices: Sequence[Choice] = (),
    ends: str | None = None,
    importance: bool = False,
    written: Mapping[str, str] | None = None,
) -> Said:
    """Quantise `source` into `target`, or only say what would be done if it is None.

    Each quantisable tensor of `choices` is given its type by a pattern of its own, the two ends by their parameters;
    `ends` is a type for these two. `importance` gives it a matrix, though an empty one.
    """
    lib = binding.library()
    log: list[bytes] = []
    callback = lib.llama_log_callback(lambda _level, text, _data: log.append(text))
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.dry_run, params.nthread, params.allow_requantize = file_type, target is None, 1, True
    if ends:
        params.token_embedding_type = params.output_tensor_type = NUMBERS[ends]
    given = {choice.name: NUMBERS[choice.after] for choice in choices if choice.why != "kept"}
    params.output_tensor_type = given.get(ENDS[0], params.output_tensor_type)
    params.token_embedding_type = given.get(ENDS[1], params.token_embedding_type)
    patterns = [(f"^{re.escape(name)}$".encode(), kind) for name, kind in given.items() if name not in ENDS]
    overrides = (lib.llama_model_tensor_override * (len(patterns) + 1))()  # the last, empty, ends the list
    for one, (pattern, kind) in zip(overrides, patterns, strict=False):
        one.pattern, one.type = pattern, kind
    if patterns:
        params.tt_overrides = overrides
    keys = (lib.llama_model_kv_override * (len(written or {}) + 1))()
    for key, (name, value) in zip(keys, (written or {}).items(), strict=False):
        key.tag, key.key, key.value.val_str = _TEXT, name.encode(), value.encode()
    if written:
        params.kv_overrides = ctypes.cast(keys, ctypes.POINTER(lib.llama_model_kv_override))
    weight = (ctypes.c_float * 1)(1.0)
    entries = (lib.llama_model_imatrix_data * 2)()
    entries[0].name, entries[0].size = b"nobody's", 1
    entries[0].data = ctypes.cast(weight, ctypes.POINTER(ctypes.c_float))
    if importance:
        params.imatrix = entries
    lib.llama_log_set(callback, None)
    try:
        failed = lib.llama_model_quantize(bytes(source), bytes(target or Path("/nowhere")), ctypes.byref(params))
    finally:
        lib.llama_log_set(binding._Loaded.callback, None)
    told = b"".join(log).decode()
    assert not failed, told[-1000:]
    found = filter(None, map(_TENSOR.match, told.splitlines()))
    total = _TOTAL.search(told)
    assert total is not None
    return Said({one[1]: one[3] or one[2] for one in found}, float(total[1]), told)


def first_layers(source: Path, target: Path, count: int) -> Path:
    """Write a model of the first `count` layers of another, everything as it is there; return `target`."""
    lib = binding.library()
    layers = range(count, read_shape(source).layers)
    pruned = (ctypes.c_int32 * (len(layers) + 1))(*layers, -1)
    params = lib.llama_model_quantize_default_params()
    params.only_copy, params.nthread, params.prune_layers = True, 1, pruned
    assert lib.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)) == 0
    return target
