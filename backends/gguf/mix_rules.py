"""What the rules of a mix mean: which matrices a pattern names, which layers a range has, which types may be given."""

from __future__ import annotations

import fnmatch
import re

from backends.gguf.mixes import Rule

MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
"""The matrices of one layer of a dense model, as patterns may name them."""
ENDS = {"output": "output", "token_embd": "embedding"}
"""The matrices outside of the layers, and the keys of a recipe that give them their types."""
TYPES = (
    "f16", "bf16", "q8_0", "q6_K", "q5_K", "q5_1", "q5_0", "q4_K", "q4_1", "q4_0", "iq4_nl", "iq4_xs", "q3_K", "iq3_s",
    "iq3_xxs", "q2_K", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s",
)  # fmt: skip
"""The types that a recipe may give, by their names in ggml."""
NEED_IMPORTANCE = frozenset({"iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s"})
"""Types that are garbage without an importance matrix: tensor_requires_imatrix in llama-quant.cpp."""

_PATTERN = re.compile(r"[a-z0-9_*?]+")
_LAYERS = re.compile(r"(?P<one>\d{1,4})|(?P<first>\d{1,4})-(?P<to>\d{1,4})?|-(?P<last>\d{1,4})", re.ASCII)
_PARTS = re.compile(r"(?P<first>\d{1,3})%-(?P<to>\d{1,3})%", re.ASCII)


def layers_in(text: str, layers: int) -> range:
    """Return those of a model's layers, counted from 0, that a rule's range names; perhaps none.

    "" is all of them, "7" one, "0-19" twenty, "20-" from there to the end, "-20" the last twenty. "25%-100%" begins
    with the first layer that has at least a quarter of them before it, and ends before the one that has all of them.
    Raises ValueError with a sentence for anything else.
    """
    if not text:
        return range(layers)
    if found := _PARTS.fullmatch(text):
        first, to = int(found["first"]), int(found["to"])
        if first < to <= 100:
            return range(-(-first * layers // 100), -(-to * layers // 100))
        raise ValueError("a part goes from a smaller percentage to a larger one, to 100% at most")
    if not (found := _LAYERS.fullmatch(text)):
        raise ValueError('layers are written as "0-19", "7", "20-", "-20" for the last 20, or "25%-100%"')
    if found["one"]:
        return range(min(int(found["one"]), layers), min(int(found["one"]) + 1, layers))
    if found["last"]:
        return range(max(0, layers - int(found["last"])), layers)
    first, to = int(found["first"]), int(found["to"] or layers)
    if found["to"] and to < first:
        raise ValueError("a range goes from a smaller number to a larger one")
    return range(min(first, layers), min(to + 1, layers))


def names_matrices(pattern: str) -> bool:
    """Say whether a pattern names any matrix of a layer."""
    return bool(_PATTERN.fullmatch(pattern)) and any(fnmatch.fnmatchcase(name, pattern) for name in MATRICES)


def rule_for(rules: tuple[Rule, ...], matrix: str, layer: int, layers: int) -> int | None:
    """Return the number of the first rule that decides over a matrix of a layer, such as "ffn_down"; None if none does.

    Raises ValueError as `layers_in` does.
    """
    for number, rule in enumerate(rules):
        if layer in layers_in(rule.layers, layers) and any(fnmatch.fnmatchcase(matrix, one) for one in rule.tensors):
            return number
    return None
