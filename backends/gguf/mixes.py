"""Mixed quantisations as values: which tensors of which layers get which type, and what came of it for one file."""

from __future__ import annotations

from typing import Literal

import msgspec

Why = Literal["rule", "base", "fallback", "kept"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Gives the matrices that match one of `tensors` in `layers` a type.

    `tensors` are names without layer and ".weight", with * and ?: "attn_*", "ffn_down". `layers` is "" for all, "0-19",
    "7", "-20" for the last 20, or a part in percent, "25%-100%". `type` is a name of ggml's, such as "q4_K".
    """

    tensors: tuple[str, ...]
    type: str
    layers: str = ""


class Mix(msgspec.Struct, frozen=True):
    """A recipe: what no rule names gets its type by the rules of `base`, a file type of llama.cpp such as "Q3_K_S".

    The first rule that fits a tensor decides. `output` and `embedding` are types of the two ends, "" for those of
    `base`.
    """

    name: str
    title: str
    base: str
    rules: tuple[Rule, ...]
    output: str = ""
    embedding: str = ""
    description: str = ""


class Choice(msgspec.Struct, frozen=True):
    """What one tensor of a file becomes. `before`, `wanted` and `after` are names of types; sizes are in bytes.

    `why` is "rule" or "base" for who decided, "fallback" where a row cannot take the wanted type, "kept" for what is
    never quantised.
    """

    name: str
    before: str
    wanted: str
    after: str
    why: Why
    before_bytes: int
    after_bytes: int
