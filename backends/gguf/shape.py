"""The numbers of a model that decide about memory and speed, from the headers of its files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from backends.gguf.problems import BadGguf
from backends.gguf.reader import Array, Header
from backends.gguf.tensors import Tensor
from backends.shown import printable

RECIPE_KEY = "deepseek_tui.recipe"
"""Where a file that was mixed here says by which recipe: its name, and after a space 12 digits for its content."""
# LLAMA_MAX_LAYERS of llama.cpp is 512.
MAX_LAYERS = 1024
FEED_FORWARD = ("ffn_gate", "ffn_up", "ffn_down")
"""The largest matrices of a dense layer, by llama.cpp's names without the layer's."""
_BLOCK = re.compile(r"blk\.(\d{1,4})\.")
# One tensor with all experts of a block, or, as files before 2024 have it, one for each.
_EXPERT = re.compile(r"blk\.\d+\.ffn_\w+(_exps\.|\.\d+\.)")
# Which tensors llama.cpp keeps on the CPU and which it puts with the output layer: llm_tensor_info in llama-arch.cpp.
_INPUT = ("token_embd.weight", "position_embd.", "token_types.", "per_layer_token_embd.", "masked_embd_")
_OUTPUT = ("output", "cls.", "dense_2.", "dense_3.", "dec.output_norm", "enc.output_norm", "altup_")
_MAX_MIX = 64  # characters of a recipe's name
_GUESSED = 1024  # LLAMA_FTYPE_GUESSED, a mark beside the number
# llama_ftype of llama.h, by the names that publishers put into names of files.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip


class Part(msgspec.Struct, frozen=True):
    """One file of a model, its size in bytes."""

    name: str
    size: int


class Block(msgspec.Struct, frozen=True):
    """One layer. `bytes` are all its weights, `expert_bytes` those of them of which a token needs only some.

    `feed_forward` are the bytes of its matrices of `FEED_FORWARD`, 0 for what it does not have, as with experts.
    """

    bytes: int
    expert_bytes: int
    kv_heads: int
    feed_forward: tuple[int, int, int] = (0, 0, 0)


class Shape(msgspec.Struct, frozen=True):
    """A model by its numbers. Sizes are in bytes, lengths in weights or tokens; None is what the file does not say.

    `parts` is () for a model without a file, whose shape comes from rules.

    `heads` and `feed_forward` are the largest of any layer. `quantization` is the publisher's word for the recipe, or
    the name of the mix by which the file was made here, "" where the file does not say; `dominant_type` is what most
    bytes are, and `type_bytes` counts all types, the largest first. `unknown_types` is the number of tensors whose type
    this program does not know: their sizes come from their places. `file_type` is general.file_type. `latent_attention`
    says that keys and values are cached compressed (MLA).

    `embedding_bytes` stay on the CPU; `output_bytes` are the output layer with its norm; `other_bytes` belong to
    neither nor to a block. `output_is_embedding` says that the file has no output layer and the embedding serves as
    one: llama.cpp then puts a copy of it on the card, see `card_output_bytes`. `name`, `architecture` and
    `chat_template` come from the file: hostile text, the first two made printable.
    """

    parts: tuple[Part, ...]
    architecture: str
    name: str
    hidden: int
    feed_forward: int | None
    heads: int
    key_length: int
    value_length: int
    vocabulary: int
    context_length: int | None
    sliding_window: int | None
    latent_attention: bool
    experts: int
    experts_used: int
    blocks: tuple[Block, ...]
    embedding_bytes: int
    output_bytes: int
    other_bytes: int
    output_is_embedding: bool
    parameters: int
    file_type: int | None
    quantization: str
    type_bytes: tuple[tuple[str, int], ...]
    unknown_types: int
    chat_template: str

    @property
    def layers(self) -> int:
        return len(self.blocks)

    @property
    def weight_bytes(self) -> int:
        """Return the sum of all tensors."""
        blocks = sum(block.bytes for block in self.blocks)
        return blocks + self.embedding_bytes + self.output_bytes + self.other_bytes

    @property
    def bits_per_weight(self) -> float:
        return self.weight_bytes * 8 / self.parameters if self.parameters else 0.0

    @property
    def card_output_bytes(self) -> int:
        """Return what the output layer takes on a card."""
        return self.output_bytes + (self.embedding_bytes if self.output_is_embedding else 0)

    @property
    def file_bytes(self) -> int | None:
        """Return the size of all files, None where there is none."""
        return sum(part.size for part in self.parts) if self.parts else None

    @property
    def dominant_type(self) -> str:
        return self.type_bytes[0][0]

    @property
    def key(self) -> str:
        """Return 32 hexadecimal digits for the files by name and size; their content is not looked at. "" without."""
        if not self.parts:
            return ""
        text = "\0".join(f"{part.name} {part.size}" for part in self.parts)
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def shape_of(parts: Sequence[Part], headers: Sequence[Header]) -> Shape:
    """Return the shape of the model in one file or in all its parts, the first part first.

    Raises BadGguf if that is no language model, lacks a number that decides, or has fewer bytes than its tables claim.
    """
    first, name = headers[0], parts[0].name
    tensors = [tensor for header in headers for tensor in header.tensors]
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadGguf(name, "two of its parts hold the same tensor")
    facts = _Facts(first, name)
    facts.check_kind(tensors)
    for part, header in zip(parts, headers, strict=True):
        if header.missing_bytes:
            what = f"{header.missing_bytes} bytes are missing: it has {part.size} of {part.size + header.missing_bytes}"
            raise BadGguf(part.name, what, part.size, missing_bytes=header.missing_bytes)
    layers = facts.needed("block_count")
    if layers > MAX_LAYERS:
        raise BadGguf(name, f"it claims {layers} layers; no model has more than {MAX_LAYERS}")
    hidden = facts.needed("embedding_length")
    heads = facts.by_layer("attention.head_count", layers) or (0,) * layers
    head = hidden // max(heads) if max(heads) else 0
    groups = _grouped(tensors, layers)
    type_bytes: Counter[str] = Counter()
    for tensor in tensors:
        type_bytes[tensor.type_name] += tensor.size or 0
    kv_heads = facts.by_layer("attention.head_count_kv", layers) or heads
    file_type = first.integer("general.file_type")
    named = {tensor.name: tensor for tensor in tensors}
    feed_forward = facts.by_layer("feed_forward_length", layers)
    return Shape(
        parts=tuple(parts),
        architecture=printable(facts.architecture),
        name=printable(first.text("general.name")),
        hidden=hidden,
        feed_forward=max(feed_forward) if feed_forward else None,
        heads=max(heads),
        key_length=_or(facts.integer("attention.key_length"), head),
        value_length=_or(facts.integer("attention.value_length"), head),
        vocabulary=_vocabulary(facts, named),
        context_length=facts.integer("context_length"),
        sliding_window=facts.integer("attention.sliding_window") or None,
        latent_attention=bool(facts.integer("attention.key_length_mla")),
        experts=facts.integer("expert_count") or 0,
        experts_used=facts.integer("expert_used_count") or 0,
        blocks=tuple(_block(groups, named, number, kv_heads[number]) for number in range(layers)),
        embedding_bytes=groups["input"],
        output_bytes=groups["output"],
        other_bytes=groups["other"],
        output_is_embedding="output.weight" not in named and "token_embd.weight" in named,
        parameters=sum(tensor.weights for tensor in tensors),
        file_type=file_type,
        quantization=_quantization(first, file_type),
        type_bytes=tuple(type_bytes.most_common()),
        unknown_types=sum(not tensor.known for tensor in tensors),
        chat_template=first.text("tokenizer.chat_template"),
    )


def _quantization(header: Header, file_type: int | None) -> str:
    mix = printable(header.text(RECIPE_KEY).partition(" ")[0], _MAX_MIX)
    return mix or ("" if file_type is None else _FILE_TYPES.get(file_type & ~_GUESSED, ""))


class _Facts:
    """The metadata of a model under its architecture's name."""

    def __init__(self, header: Header, file: str) -> None:
        self._header = header
        self._file = file
        self.architecture = header.text("general.architecture")

    def check_kind(self, tensors: Sequence[Tensor]) -> None:
        """Raise BadGguf if this is no language model with weights."""
        kind = self._header.text("general.type")
        title, hint = "This is not a language model", "Name the file of the model itself in the preset."
        if kind not in {"", "model"}:
            raise BadGguf(self._file, f"it holds something else: {printable(kind)}", title=title, hint=hint)
        if not self.architecture:
            raise BadGguf(self._file, "general.architecture is missing, the kind of the model", title=title, hint=hint)
        if not tensors:
            raise BadGguf(self._file, "it holds no weights", title=title, hint=hint)

    def integer(self, key: str) -> int | None:
        return self._header.integer(f"{self.architecture}.{key}")

    def needed(self, key: str) -> int:
        """Return a number without which nothing can be planned. Raises BadGguf."""
        value = self.integer(key)
        if not value:
            raise BadGguf(self._file, f"{printable(self.architecture)}.{key} is missing from its metadata")
        return value

    def by_layer(self, key: str, layers: int) -> tuple[int, ...] | None:
        """Return a number for each layer, whether the file has one for all or a list; None if it has neither.

        Raises BadGguf if there is a list that cannot be one: too short, or not of whole numbers.
        """
        value = self._header.metadata.get(f"{self.architecture}.{key}")
        if not isinstance(value, Array):
            single = self.integer(key)
            return None if single is None else (single,) * layers
        numbers = [number for number in value.values or () if isinstance(number, int) and number >= 0]
        # Layers that only predict further tokens may be left out at the end.
        if not numbers or len(numbers) != value.count:
            raise BadGguf(self._file, f"{printable(self.architecture)}.{key} is no list of numbers by layer")
        numbers += numbers[-1:] * (layers - len(numbers))
        return tuple(numbers[:layers])

    def count(self, key: str) -> int | None:
        """Return the length of a list outside of the architecture's names, None if there is none."""
        value = self._header.metadata.get(key)
        return value.count if isinstance(value, Array) else None


def _vocabulary(facts: _Facts, named: dict[str, Tensor]) -> int:
    """Return the number of tokens as the engine counts it: entries of the vocabulary, else rows of the embedding."""
    embedding = named.get("token_embd.weight")
    rows = embedding.shape[1] if embedding and len(embedding.shape) > 1 else 0
    return facts.count("tokenizer.ggml.tokens") or facts.integer("vocab_size") or rows


def _block(groups: Counter[object], named: dict[str, Tensor], number: int, kv_heads: int) -> Block:
    gate, up, down = (named.get(f"blk.{number}.{name}.weight") for name in FEED_FORWARD)
    sizes = tuple((one.size or 0) if one is not None else 0 for one in (gate, up, down))
    return Block(groups[number], groups[number, "experts"], kv_heads, (sizes[0], sizes[1], sizes[2]))


def _grouped(tensors: Sequence[Tensor], layers: int) -> Counter[object]:
    """Add up bytes by where llama.cpp puts them: a layer's number, (number, "experts") of it, input, output, other."""
    groups: Counter[object] = Counter()
    for tensor in tensors:
        size = tensor.size or 0
        block = _BLOCK.match(tensor.name)
        if block and int(block[1]) < layers:
            groups[int(block[1])] += size
            if _EXPERT.match(tensor.name):
                groups[int(block[1]), "experts"] += size
        elif tensor.name.startswith(_INPUT):
            groups["input"] += size
        else:
            groups["output" if tensor.name.startswith(_OUTPUT) else "other"] += size
    return groups


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value
