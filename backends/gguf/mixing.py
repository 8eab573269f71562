"""What a mix makes of a model, tensor by tensor, before anything is read of its weights.

Every type is decided here, and none is left to the engine: a type that is set by hand does not count for llama.cpp's
own rules, which would shift for all tensors behind it. So the size that comes out is known to the byte.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import msgspec

from backends.errors import BadModelFile, BadOptions
from backends.gguf.mix_rules import NEED_IMPORTANCE, TYPES, rule_for
from backends.gguf.mixes import Choice, Mix, Why
from backends.gguf.reader import Header, Value
from backends.gguf.recipe_rules import Setting, fallback, wanted_type
from backends.gguf.recipes import (
    NUMBERS,
    RECIPES,
    Architecture,
    Dimensions,
    Recipe,
    setting_for,
    setting_of,
    shape_by_tensors,
    tensors_by_types,
)
from backends.gguf.shape import RECIPE_KEY, Part, Shape, shape_of
from backends.gguf.tensors import Tensor, padded, tensor_size
from backends.shown import printable

ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
"""The models whose rules are known: dense ones of these architectures."""
FLOATS = frozenset({"f32", "f16", "bf16"})
"""Types that lost nothing yet."""

# What ggml cannot turn into floats again, and so cannot be made into another type.
_STIFF = frozenset({"i8", "i16", "i32", "i64", "f64", "q8_1", "q8_K"})
_ENDS = ("output.weight", "token_embd.weight")
_IN_LAYER = re.compile(r"blk\.(\d{1,4})\.(.+)")
_ALIGNMENT = 32  # GGUF_DEFAULT_ALIGNMENT, which llama.cpp's quantiser always writes
_MAGIC_VERSION_COUNTS = 4 + 4 + 8 + 8
# A key of text is its length, itself, a kind, and the length of the value before it; one of a number is without that.
_TEXT_AROUND, _NUMBER_AROUND = 8 + 4 + 8, 8 + 4 + 4
_ANOTHER = "Fetch another file of the same model, as F16 or BF16."
# Keys that the quantiser writes anew as numbers of 4 bytes, and those that it takes out.
_REWRITTEN = ("general.quantization_version", "general.file_type")
_REMOVED = ("split.no", "split.count", "split.tensors.count")

_Chooser = Callable[[str, int | None, int], tuple[str, Why]]


def types_of(mix: Mix, headers: Sequence[Header], *, importance: bool) -> tuple[Choice, ...]:
    """Return what each tensor of a source becomes, in the order of the source; `headers` are those of all its parts.

    `importance` says that there is an importance matrix. Raises BadModelFile for a source that cannot be mixed, and
    BadOptions for a mix that cannot be made of it.
    """
    tensors = [tensor for header in headers for tensor in header.tensors]
    setting = _setting(mix, headers, tensors, importance)
    chooser = _chooser(mix, setting)
    choices = tuple(_choice(tensor, chooser) for tensor in tensors)
    _check_importance(mix, choices, importance)
    return choices


def types_by_rules(mix: Mix, model: Dimensions, *, importance: bool, before: str = "bf16") -> tuple[Choice, ...]:
    """Return what each tensor of a model becomes that is not here, if its source is all of the type `before`.

    Raises BadOptions for a mix that cannot be made of it.
    """
    chooser = _chooser(mix, setting_for(model, _recipe(mix), importance=importance))
    tensors = tensors_by_types(model, lambda *_: before)
    choices = tuple(_choice(tensor, chooser) for tensor in tensors)
    _check_importance(mix, choices, importance)
    return choices


def size_of(choices: Sequence[Choice], headers: Sequence[Header], written: Mapping[str, str | int]) -> int:
    """Return the exact size in bytes of the file that comes out.

    `written` are the keys that the quantiser is asked to write: text, and whole numbers, which take 4 bytes.
    """
    first = headers[0]
    ours = {key: _NUMBER_AROUND + len(key) for key in _REWRITTEN}
    for key, value in written.items():
        around = _NUMBER_AROUND if isinstance(value, int) else _TEXT_AROUND + len(value.encode())
        ours[key] = around + len(key.encode())
    kept = sum(size for key, size in first.entry_bytes.items() if key not in ours and key not in _REMOVED)
    table = sum(_entry_bytes(tensor) for header in headers for tensor in header.tensors)
    before = padded(_MAGIC_VERSION_COUNTS + kept + sum(ours.values()) + table, _ALIGNMENT)
    return before + sum(padded(choice.after_bytes, _ALIGNMENT) for choice in choices)


def shape_of_mix(mix: Mix, headers: Sequence[Header], choices: Sequence[Choice]) -> Shape:
    """Return the shape of what comes out of a source, as a model without a file. Raises BadGguf as `shape_of` does."""
    after = {choice.name: choice for choice in choices}
    tensors = tuple(
        msgspec.structs.replace(tensor, type=NUMBERS[after[tensor.name].after], size=after[tensor.name].after_bytes)
        for header in headers
        for tensor in header.tensors
    )
    written: dict[str, Value] = {"general.file_type": file_type_of(mix), RECIPE_KEY: recipe_text(mix)}
    header = Header(3, headers[0].metadata | written, tensors, _ALIGNMENT, 0, 0, 0)
    return msgspec.structs.replace(shape_of([Part(mix.name, 0)], [header]), parts=())


def shape_by_mix(mix: Mix, model: Dimensions, name: str, *, importance: bool = True) -> Shape:
    """Return the shape that the mix gives to a model that is not here. Raises BadOptions as `types_by_rules` does."""
    choices = {choice.name: choice.after for choice in types_by_rules(mix, model, importance=importance)}
    tensors = tensors_by_types(
        model, lambda matrix, layer, _: choices[matrix if layer is None else f"blk.{layer}.{matrix}"]
    )
    return shape_by_tensors(model, name, tensors, file_type_of(mix), mix.name)


def file_type_of(mix: Mix) -> int:
    """Return the number of the base recipe in llama.h (llama_ftype). Raises BadOptions if it cannot be a base."""
    return _recipe(mix).file_type


def recipe_text(mix: Mix) -> str:
    """Return what the file that comes out says of itself under `RECIPE_KEY`: the mix's name and what it holds."""
    content = msgspec.json.encode((mix.base, mix.output, mix.embedding, mix.rules))
    return f"{mix.name} {hashlib.sha256(content).hexdigest()[:12]}"


def requantized(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """Return the tensors that were quantised already and would be once more, each time with a loss."""
    return tuple(one for one in choices if one.before not in FLOATS and one.after != one.before)


def fallbacks(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """Return the tensors whose rows cannot have the type that was wanted for them."""
    return tuple(choice for choice in choices if choice.why == "fallback")


def idle_rules(mix: Mix, layers: int, matrices: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers, from 0, of the rules that decide nothing in a model of so many layers with these matrices."""
    used = {rule_for(mix.rules, matrix, layer, layers) for layer in range(layers) for matrix in matrices}
    return tuple(number for number in range(len(mix.rules)) if number not in used)


def _recipe(mix: Mix) -> Recipe:
    """Return the recipe whose rules hold for what no rule of the mix names. Raises BadOptions."""
    recipe = RECIPES.get(mix.base)
    if recipe is None or recipe.most in FLOATS:
        why = "quantises nothing, so no type could be set beside it" if recipe else "is no file type of llama.cpp"
        raise _unusable(mix, f"its base {printable(mix.base)} {why}", "Choose a base such as Q3_K_S or Q4_K_M.")
    return recipe


def _setting(mix: Mix, headers: Sequence[Header], tensors: Sequence[Tensor], importance: bool) -> Setting:
    """Return what the base's rules need to know of a source. Raises BadModelFile for one of which nothing is known."""
    recipe, first = _recipe(mix), headers[0]
    architecture = first.text("general.architecture")
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        what = f"it is of the architecture {printable(architecture) or '(none)'}; rules are known for {known}"
        raise _unfit(what, "Fetch a ready file of it instead.")
    if first.integer(f"{architecture}.expert_count"):
        raise _unfit(
            "it is made of experts; rules are known for dense models alone", "Fetch a ready file of it instead."
        )
    if missing := sum(header.missing_bytes for header in headers):
        raise _unfit(f"{missing} bytes are missing at its end", "Fetch the file again.")
    if any(header.alignment != _ALIGNMENT for header in headers):
        raise _unfit(f"its tensors are not aligned to {_ALIGNMENT} bytes, as the engine writes them", _ANOTHER)
    layers, heads = (first.integer(f"{architecture}.{key}") for key in ("block_count", "attention.head_count"))
    kv_heads = first.integer(f"{architecture}.attention.head_count_kv") or heads
    if not layers or not heads or not kv_heads:
        raise _unfit("it does not say how many layers and heads it has, or they differ by layer", _ANOTHER)
    return setting_of(
        recipe,
        architecture,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        tied=all(tensor.name != "output.weight" for tensor in tensors),
        importance=importance,
    )


def _chooser(mix: Mix, setting: Setting) -> _Chooser:
    """Return what chooses a matrix's type by its name without the layer, its layer and its row. Raises BadOptions."""
    for kind in (mix.output, mix.embedding, *(rule.type for rule in mix.rules)):
        if kind and kind not in TYPES:
            raise _unusable(
                mix, f"{printable(kind)} is no type that it can give", f"Choose one of: {', '.join(TYPES)}."
            )
    for kind in {mix.output, mix.embedding} & NEED_IMPORTANCE:
        what = f"output and embedding cannot be {kind}: importance is not measured for them"
        raise _unusable(mix, what, "Choose a larger type for the two ends.")
    ends = {"output.weight": mix.output, "token_embd.weight": mix.embedding or (mix.output if setting.tied else "")}

    def choose(name: str, layer: int | None, row: int) -> tuple[str, Why]:
        if layer is None and ends.get(name):
            return ends[name], "rule"
        if layer is not None:
            number = rule_for(mix.rules, name.removesuffix(".weight"), layer, setting.layers)
            if number is not None:
                return mix.rules[number].type, "rule"
        return wanted_type(setting, name, layer or 0, row), "base"

    try:
        choose("ffn_down.weight", 0, 256)
    except ValueError as error:
        raise _unusable(mix, str(error), "Mend the layers of its rules.") from error
    return choose


def _choice(tensor: Tensor, choose: _Chooser) -> Choice:
    """Return what one tensor becomes. Raises BadModelFile if it cannot become what it should."""
    name, before, size = tensor.name, tensor.type_name, tensor.size or 0
    if not _quantisable(tensor):
        return Choice(name, before, before, before, "kept", size, size)
    inner = _IN_LAYER.fullmatch(name)
    row = tensor.shape[0]
    wanted, why = choose(inner[2], int(inner[1]), row) if inner else choose(name, None, row)
    after = fallback(wanted, row)
    if after != before and (not tensor.known or before in _STIFF):
        raise _unfit(f"its tensor {name} is of {before}, which cannot be read back", _ANOTHER)
    after_bytes = size if after == before else tensor_size(tensor.shape, NUMBERS[after]) or 0
    return Choice(name, before, wanted, after, why if after == wanted else "fallback", size, after_bytes)


def _quantisable(tensor: Tensor) -> bool:
    """Say whether the engine quantises a tensor at all: tensor_allows_quantization, for dense models."""
    name = tensor.name
    if sum(length > 1 for length in tensor.shape[1:]) == 0 or not name.endswith("weight"):
        return False
    return not (
        "_norm.weight" in name
        or "ffn_gate_inp.weight" in name
        or name in {"position_embd.weight", "token_types.weight"}
        or ".position_embd" in name
        or "attn_rel_b.weight" in name
    )


def _check_importance(mix: Mix, choices: Sequence[Choice], importance: bool) -> None:
    """Refuse types that are garbage without an importance matrix where there is none. Raises BadOptions."""
    if importance:
        return
    poor = [one for one in choices if needs_importance(mix, one)]
    if poor:
        more = f" and {len(poor) - 1} more" if len(poor) > 1 else ""
        what = f"{poor[0].name}{more} would be {poor[0].after}, which is garbage without one"
        hint = "Give one with --imatrix, or choose a recipe with larger types."
        raise BadOptions(f"The recipe {printable(mix.name)} needs an importance matrix", what, hint)


def needs_importance(mix: Mix, choice: Choice) -> bool:
    """Say whether a tensor can only have its type with an entry of an importance matrix."""
    if choice.why == "kept" or choice.name in _ENDS:
        return False
    return choice.after in NEED_IMPORTANCE or (choice.after == "q2_K" and mix.base == "Q2_K_S")


def _entry_bytes(tensor: Tensor) -> int:
    """Return what a tensor takes in the table of a file that ggml writes: it leaves out lengths of 1 at the end."""
    dimensions = max([number for number, length in enumerate(tensor.shape, 1) if length > 1], default=1)
    # The name with its length, the number of dimensions, each of them, a type and a place.
    return 8 + len(tensor.name.encode()) + 4 + 8 * dimensions + 4 + 8


def _unfit(what: str, hint: str) -> BadModelFile:
    return BadModelFile("The model cannot be quantised by a recipe", what, hint)


def _unusable(mix: Mix, what: str, hint: str) -> BadOptions:
    return BadOptions("This recipe cannot be used", f"{printable(mix.name)}: {what}", hint)
