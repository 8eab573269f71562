"""A model that is not here, by its dimensions and llama.cpp's own rules: which type each tensor gets in which recipe.

The rules are those of llama-quant.cpp for dense models of the three architectures below. They were the same when the
published files were made; tests hold them beside the engine itself and beside sizes of published files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from backends.gguf.reader import Header, Value
from backends.gguf.recipe_rules import Setting, type_of
from backends.gguf.shape import Part, Shape, shape_of
from backends.gguf.tensors import TYPES, Tensor, padded, tensor_size

Architecture = Literal["llama", "qwen2", "qwen3"]
_Axes = tuple[int, ...]

_ALIGNMENT = 32
_F32 = "f32"
# llama.cpp calls a model of 80 layers a 70B, a Llama only if its heads share keys (llama_model::load_hparams).
_LAYERS_OF_70B = 80
NUMBERS = {known.name: number for number, known in TYPES.items()}
"""The numbers of ggml's types by their names."""


class Recipe(msgspec.Struct, frozen=True):
    """A file type of llama.cpp: its number there (llama_ftype), and the type that most tensors get.

    `rules` names the file type whose rules hold. `ends` is the type of embedding and output layer where the publisher
    sets it: the _L files differ from others in nothing else.
    """

    file_type: int
    most: str
    rules: str
    ends: str | None = None


_PLAIN = {
    "F32": (0, "f32"), "F16": (1, "f16"), "BF16": (32, "bf16"),
    "Q8_0": (7, "q8_0"), "Q6_K": (18, "q6_K"), "Q5_K_M": (17, "q5_K"), "Q5_K_S": (16, "q5_K"), "Q5_1": (9, "q5_1"),
    "Q5_0": (8, "q5_0"), "Q4_1": (3, "q4_1"), "Q4_K_M": (15, "q4_K"), "Q4_K_S": (14, "q4_K"), "Q4_0": (2, "q4_0"),
    "IQ4_NL": (25, "iq4_nl"), "IQ4_XS": (30, "iq4_xs"), "Q3_K_L": (13, "q3_K"), "Q3_K_M": (12, "q3_K"),
    "IQ3_M": (27, "iq3_s"), "IQ3_S": (26, "iq3_s"), "Q3_K_S": (11, "q3_K"), "IQ3_XS": (22, "iq3_s"),
    "IQ3_XXS": (23, "iq3_xxs"), "Q2_K": (10, "q2_K"), "Q2_K_S": (21, "q2_K"), "IQ2_M": (29, "iq2_s"),
    "IQ2_S": (28, "iq2_xs"), "IQ2_XS": (20, "iq2_xs"), "IQ2_XXS": (19, "iq2_xxs"), "IQ1_M": (31, "iq1_m"),
    "IQ1_S": (24, "iq1_s"),
}  # fmt: skip
# Names of one publisher's, bartowski's, for files whose embedding and output layer are q8_0.
_LARGE_ENDS = {"Q6_K_L": "Q6_K", "Q5_K_L": "Q5_K_M", "Q4_K_L": "Q4_K_M", "Q3_K_XL": "Q3_K_L", "Q2_K_L": "Q2_K"}

RECIPES = {name: Recipe(number, most, name) for name, (number, most) in _PLAIN.items()} | {
    name: Recipe(*_PLAIN[rules], rules, "q8_0") for name, rules in _LARGE_ENDS.items()
}
"""All recipes that are known, by the names that publishers put into names of files."""


class Dimensions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model's config.json says of its size. `head` is the length of one head's key and of its value.

    `tied` says that the embedding serves as output layer. `rope_factors` that the file has a list of factors for long
    contexts, as Llama 3.1 and its distills have it.
    """

    architecture: Architecture
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    context_length: int
    tied: bool = False
    rope_factors: bool = False


def tensors_by_rules(model: Dimensions, recipe: Recipe, *, importance: bool = True) -> tuple[Tensor, ...]:
    """Return all tensors with the types that the recipe gives them.

    `importance` says that an importance matrix was used, as for nearly all published files.
    """
    setting = setting_for(model, recipe, importance=importance)
    return tensors_by_types(model, lambda name, layer, row: type_of(setting, name, layer or 0, row))


def tensors_by_types(model: Dimensions, matrix: Callable[[str, int | None, int], str]) -> tuple[Tensor, ...]:
    """Return all tensors; `matrix` gives a matrix its type by its name without the layer, the layer, and its row."""
    found, offset = [], 0
    for name, layer, axes in _tensors(model):
        # What has one dimension is never quantised.
        number = NUMBERS[_F32 if len(axes) == 1 else matrix(name, layer, axes[0])]
        size = tensor_size(axes, number) or 0
        found.append(Tensor(name if layer is None else f"blk.{layer}.{name}", axes, number, offset, size))
        offset = padded(offset + size, _ALIGNMENT)
    return tuple(found)


def setting_for(model: Dimensions, recipe: Recipe, *, importance: bool) -> Setting:
    """Return what the rules of `recipe` need to know of a model by its dimensions."""
    return setting_of(
        recipe,
        model.architecture,
        layers=model.layers,
        heads=model.heads,
        kv_heads=model.kv_heads,
        tied=model.tied,
        importance=importance,
    )


def setting_of(
    recipe: Recipe, architecture: str, *, layers: int, heads: int, kv_heads: int, tied: bool, importance: bool
) -> Setting:
    """Return what the rules of `recipe` need to know of a model."""
    return Setting(
        rules=recipe.rules,
        most=recipe.most,
        ends=recipe.ends,
        layers=layers,
        shared=heads // kv_heads,
        is_70b=layers == _LAYERS_OF_70B and (architecture == "qwen2" or heads != kv_heads),
        tied=tied,
        importance=importance,
    )


def shape_by_recipe(model: Dimensions, name: str, quantization: str, *, importance: bool = True) -> Shape | None:
    """Return the shape that a file of this recipe has, None for an unknown recipe.

    It has no parts, for there is no file: its tensors are known, the list of its tokens (some 6 MB) and its chat
    template are not.
    """
    recipe = RECIPES.get(quantization)
    if recipe is None:
        return None
    tensors = tensors_by_rules(model, recipe, importance=importance)
    return shape_by_tensors(model, name, tensors, recipe.file_type, quantization)


def shape_by_tensors(
    model: Dimensions, name: str, tensors: tuple[Tensor, ...], file_type: int, quantization: str
) -> Shape:
    """Return the shape of a model that is not here but for its dimensions and the table of its tensors."""
    prefix = model.architecture
    metadata: dict[str, Value] = {
        "general.architecture": prefix,
        "general.name": name,
        "general.file_type": file_type,
        f"{prefix}.block_count": model.layers,
        f"{prefix}.context_length": model.context_length,
        f"{prefix}.embedding_length": model.hidden,
        f"{prefix}.feed_forward_length": model.feed_forward,
        f"{prefix}.attention.head_count": model.heads,
        f"{prefix}.attention.head_count_kv": model.kv_heads,
        f"{prefix}.attention.key_length": model.head,
        f"{prefix}.attention.value_length": model.head,
    }
    header = Header(3, metadata, tensors, _ALIGNMENT, 0, 0, 0)
    found = shape_of([Part(name, 0)], [header])
    return msgspec.structs.replace(found, parts=(), quantization=quantization)


def _tensors(model: Dimensions) -> Iterator[tuple[str, int | None, _Axes]]:
    """Yield each tensor's name without its layer, the layer, and the shape, the row's length first."""
    hidden, vocabulary = model.hidden, model.vocabulary
    yield "token_embd.weight", None, (hidden, vocabulary)
    yield "output_norm.weight", None, (hidden,)
    if not model.tied:
        yield "output.weight", None, (hidden, vocabulary)
    if model.rope_factors:
        yield "rope_freqs.weight", None, (model.head // 2,)
    block = _block(model)
    for layer in range(model.layers):
        for name, axes in block:
            yield name, layer, axes


def _block(model: Dimensions) -> tuple[tuple[str, _Axes], ...]:
    hidden, wide = model.hidden, model.feed_forward
    queries, keys = model.heads * model.head, model.kv_heads * model.head
    common: tuple[tuple[str, _Axes], ...] = (
        ("attn_norm.weight", (hidden,)),
        ("attn_q.weight", (hidden, queries)),
        ("attn_k.weight", (hidden, keys)),
        ("attn_v.weight", (hidden, keys)),
        ("attn_output.weight", (queries, hidden)),
        ("ffn_norm.weight", (hidden,)),
        ("ffn_gate.weight", (hidden, wide)),
        ("ffn_up.weight", (hidden, wide)),
        ("ffn_down.weight", (wide, hidden)),
    )
    if model.architecture == "qwen2":
        return (*common, ("attn_q.bias", (queries,)), ("attn_k.bias", (keys,)), ("attn_v.bias", (keys,)))
    if model.architecture == "qwen3":
        return (*common, ("attn_q_norm.weight", (model.head,)), ("attn_k_norm.weight", (model.head,)))
    return common
