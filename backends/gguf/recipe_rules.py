"""llama.cpp's choice of a type for one tensor of a dense model: llama_tensor_get_type in llama-quant.cpp, by role."""

from __future__ import annotations

import msgspec

_UNQUANTISED = {"f32", "f16", "bf16"}
# The recipes with one or two bits have rules of their own.
_TINY = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"}
_TINY_LARGER = {"IQ2_S", "IQ2_M"}
_BLOCK, _SMALL_BLOCK = 256, 32  # weights
# What a row gets that is no multiple of 256 weights.
_FALLBACK = {
    "iq1_s": "iq4_nl", "iq1_m": "iq4_nl", "iq2_xxs": "iq4_nl", "iq2_xs": "iq4_nl", "iq2_s": "iq4_nl",
    "iq3_xxs": "iq4_nl", "iq3_s": "iq4_nl", "iq4_xs": "iq4_nl", "q2_K": "q4_0", "q3_K": "q4_0", "q4_K": "q5_0",
    "q5_K": "q5_1", "q6_K": "q8_0",
}  # fmt: skip


class Setting(msgspec.Struct, frozen=True):
    """What the choice depends on beside the tensor itself.

    `rules` names the file type, `most` its plain type. `ends` is the type that the publisher set for embedding and
    output layer. `shared` is how many heads share a key. `importance` says that there is an importance matrix.
    """

    rules: str
    most: str
    ends: str | None
    layers: int
    shared: int
    is_70b: bool
    tied: bool
    importance: bool


def type_of(setting: Setting, name: str, layer: int, row: int) -> str:
    """Return the type of a tensor with two dimensions: `name` without its layer, `row` the length of its rows."""
    if setting.most in _UNQUANTISED:
        return setting.most
    return fallback(wanted_type(setting, name, layer, row), row)


def wanted_type(setting: Setting, name: str, layer: int, row: int) -> str:
    """Return the type that the rules want, whether or not a row of this length can have it."""
    if setting.ends and name in {"token_embd.weight", "output.weight"}:
        return setting.ends
    if name == "output.weight" or (setting.tied and name == "token_embd.weight"):
        return _output(setting, row)
    if name == "token_embd.weight":
        return _embedding(setting)
    if setting.rules in _TINY:
        return _tiny(setting, name, layer)
    match name:
        case "attn_v.weight":
            return _values(setting, layer)
        case "attn_q.weight" | "attn_k.weight":
            return {"IQ3_XS": "iq3_xxs", "IQ3_XXS": "iq2_s"}.get(setting.rules, setting.most)
        case "attn_output.weight":
            better = {"Q2_K": "q3_K", "IQ3_XXS": "iq3_s", "Q3_K_M": "q4_K", "Q3_K_L": "q5_K", "IQ3_M": "q4_K"}
            return better.get(setting.rules, setting.most)
        case "ffn_down.weight":
            return _down(setting, layer)
        case "ffn_gate.weight" | "ffn_up.weight":
            middle = setting.layers // 8 <= layer < 7 * setting.layers // 8
            return "iq3_xxs" if setting.rules == "IQ3_XS" and middle else setting.most
    return setting.most


def _output(setting: Setting, row: int) -> str:
    if setting.most == "q8_0" or row % _block(setting.most):
        return "q8_0"
    return "q5_K" if setting.rules in _TINY or setting.rules == "IQ3_XXS" else "q6_K"


def _embedding(setting: Setting) -> str:
    if setting.rules in _TINY - _TINY_LARGER:
        return "q2_K"
    return "iq3_s" if setting.rules in _TINY_LARGER or setting.rules == "IQ3_XXS" else setting.most


def _tiny(setting: Setting, name: str, layer: int) -> str:
    better = "iq3_s" if setting.rules in _TINY_LARGER else "q2_K"
    match name:
        case "attn_v.weight":
            return "q4_K" if setting.shared >= 4 else better
        case "ffn_down.weight" if layer < setting.layers // 8:
            return better
        case "attn_output.weight":
            return {"IQ1_S": "iq2_xxs", "IQ1_M": "iq2_xxs", "IQ2_S": "iq3_s", "IQ2_M": "iq3_s"}.get(
                setting.rules, setting.most
            )
    return setting.most


def _values(setting: Setting, layer: int) -> str:
    chosen = _values_of_most(setting, layer)
    # In a 70B eight heads share a value: more bits for it cost next to nothing.
    return "q5_K" if setting.is_70b and chosen in {"q3_K", "q4_K"} else chosen


def _values_of_most(setting: Setting, layer: int) -> str:
    much_shared = setting.shared >= 4
    match setting.rules:
        case "Q2_K":
            return "q4_K" if much_shared else "q3_K"
        case "Q2_K_S" | "IQ3_XS" | "IQ3_S" if much_shared:
            return "q4_K"
        case "IQ3_XXS":
            return "q4_K" if much_shared else "iq3_xxs" if setting.importance else "iq3_s"
        case "IQ3_M":
            return "q4_K"
        case "Q3_K_M":
            return "q5_K" if layer < 2 else "q4_K"
        case "Q3_K_L":
            return "q5_K"
        case "IQ4_NL" | "IQ4_XS" if much_shared:
            return "q5_K"
        case "Q4_K_M" | "Q5_K_M" if _more_bits(layer, setting.layers):
            return "q6_K"
        case "Q4_K_S" if layer < 4:
            return "q5_K"
    return setting.most


def _down(setting: Setting, layer: int) -> str:
    first = layer < setting.layers // 8
    match setting.rules:
        case "Q2_K":
            return "q3_K"
        case "Q2_K_S" if first:
            return "q4_K"
        case "IQ3_XXS" if not setting.importance:
            return "q4_K" if first else "q3_K"
        case "Q3_K_M":
            return "q5_K" if layer < setting.layers // 16 else "q4_K"
        case "IQ3_M" if first:
            return "q4_K"
        case "Q3_K_L":
            return "q5_K"
        case "Q4_K_M" | "Q5_K_M" if _more_bits(layer, setting.layers):
            return "q6_K"
        case "IQ4_NL" | "IQ4_XS" if first and not setting.importance:
            return "q5_K"
        case "Q4_K_S" if first:
            return "q5_K"
        case "Q4_0" | "Q5_0" if first and setting.importance:
            return "q4_1" if setting.rules == "Q4_0" else "q5_1"
    return setting.most


def _more_bits(layer: int, layers: int) -> bool:
    """Say whether this is one of the layers that matter most: the first, the last, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def fallback(chosen: str, row: int) -> str:
    """Return the type for a row of so many weights: another if that is no whole number of blocks of `chosen`."""
    if chosen in _UNQUANTISED or row % _block(chosen) == 0:
        return chosen
    other = _FALLBACK.get(chosen)
    return other if other and row % _SMALL_BLOCK == 0 else "f16"


def _block(kind: str) -> int:
    return _BLOCK if kind in _FALLBACK else _SMALL_BLOCK
