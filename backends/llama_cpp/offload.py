"""How many blocks go to a card: what the plan says for the memory that is free now, and fewer where it was wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from backends.errors import OutOfMemory, Problem
from backends.gguf import files
from backends.gguf.shape import Block, Part, Shape
from backends.hardware.gpu import read_gpus
from backends.hardware.patience import Question
from backends.llama_cpp import binding
from backends.llama_cpp.binding import GpuDevice
from backends.llama_cpp.model import HostOutOfMemory, metadata, without_weights
from backends.planning import learned
from backends.planning.choice import most_blocks, part_of_next
from backends.planning.memory import Setup, engine_layers, place
from backends.planning.result import Wishes

RETREAT = 2

# One for the formula's answer, one for what the engine makes of it, one more if both were off.
_DRY_RUNS = 3
_DRIVER_S = 2.0
# llama.cpp stores the output tensor of its K-quant mixtures as Q6_K: 210 bytes for 256 weights.
_OUTPUT_BYTES_PER_WEIGHT = 210 / 256

_T = TypeVar("_T")

Count = Callable[[int, tuple[str, ...]], int | None]


class Offload(msgspec.Struct, frozen=True):
    """How much of a model goes to a card with `free_bytes`, of which `margin_bytes` are to stay free.

    `blocks` is how many fit by all that is known; with `held`, one more fits without these matrices. `off_bytes` is how
    much more than the formula the engine takes by its own count, None where it was not asked.
    """

    shape: Shape
    setup: Setup
    free_bytes: int
    margin_bytes: int
    blocks: int = 0
    off_bytes: int | None = None
    held: tuple[str, ...] = ()

    def with_free(self, free_bytes: int) -> Offload:
        """Return the same plan for another amount of free memory."""
        budget, wishes = free_bytes - (self.off_bytes or 0), Wishes(margin_bytes=self.margin_bytes)
        blocks = most_blocks(self.shape, self.setup, wishes, budget)
        return msgspec.structs.replace(self, free_bytes=free_bytes, blocks=blocks, held=())

    def bytes_of(self, blocks: int, held: tuple[str, ...] = ()) -> int:
        """Return what so many blocks take, the last of them without `held`; the output layer and buffers included."""
        card = place(self.shape, self.setup, engine_layers(blocks), 0, held).card
        return card.total + (self.off_bytes or 0)

    def sentence(self, blocks: int) -> str:
        """Say for the user what loading so many blocks takes."""
        total, free = self.shape.layers, f"{self.free_bytes / 1e9:.1f} GB"
        if blocks == 0:
            return f"No layer goes to the card: {free} are free there."
        if self.held and blocks == self.blocks:
            layers, size = f"{blocks} of {total} layers and a part of one more", self.bytes_of(blocks + 1, self.held)
        else:
            layers, size = f"{blocks} of {total} layers", self.bytes_of(blocks)
        return f"{layers} go to the card: {size / 1e9:.1f} of {free} that are free."


def find_card() -> GpuDevice | None:
    """Return the GPU with most free memory, None without any.

    At the engine's first look at them it learns what its context takes: what the driver says is free just before, less
    what the engine finds free after it.
    """
    names, before = binding.gpu_descriptions(), dict[str, int]()
    engine = binding.version()
    if not binding.looked_at_gpus() and any(learned.overhead_wanted(name, engine) for name in names):
        before = _free_by_driver()
    gpus = binding.gpus()
    for gpu in gpus:
        if gpu.description in before and names.count(gpu.description) == 1:
            learned.note_overhead(gpu.description, before[gpu.description] - gpu.free_bytes, engine)
    return max(gpus, key=lambda gpu: gpu.free_bytes, default=None)


def plan(
    shape: Shape, setup: Setup, free: int, margin: int, count: Count | None = None, *, parts: bool = False
) -> Offload:
    """Return how many blocks fit into `free` bytes of a card beside the margin, with `parts` also that of one more.

    `count` is the engine's own count of what so many blocks, less what is held of the lowest, take there; None if it
    has none. It has the last word.
    """
    planned = Offload(shape, setup, free, margin)
    wishes = Wishes(margin_bytes=margin)
    blocks, counted = most_blocks(shape, setup, wishes, free), dict[int, int]()
    while count is not None and blocks and blocks not in counted and len(counted) < _DRY_RUNS:
        taken = count(blocks, ())
        if taken is None:
            break
        counted[blocks] = taken - planned.bytes_of(blocks)
        blocks = most_blocks(shape, setup, wishes, free - counted[blocks])
    fitting = [one for one, off in counted.items() if planned.bytes_of(one) + off <= free - margin]
    if fitting:
        blocks = max(fitting)
    # Where the engine counted none that fits, what it takes more is known from the last that it did count.
    off = counted.get(blocks, next(reversed(counted.values()), None))
    planned = msgspec.structs.replace(planned, blocks=blocks, off_bytes=off)
    if not parts or not blocks:
        return planned
    held = part_of_next(shape, setup, wishes, free - (off or 0), blocks)
    taken = count(blocks + 1, held) if held and count is not None else None
    if taken is not None and taken > free - margin:
        held = ()
    return msgspec.structs.replace(planned, held=held)


def load_with_retreat(
    blocks: int, attempt: Callable[[int], _T], retreat: Callable[[str], None], most: Callable[[], int] | None = None
) -> tuple[_T, int]:
    """Call `attempt` with `blocks`, and with fewer after each OutOfMemory; return what it gave and with how many.

    Fewer are two less, or `most` if that is smaller still: what fits at that moment. `retreat` is told each step in a
    sentence. Raises OutOfMemory if it does not fit without the GPU either, or if main memory is what is short.
    """
    while True:
        try:
            return attempt(blocks), blocks
        except HostOutOfMemory:
            raise
        except OutOfMemory:
            if blocks == 0:
                raise
            fewer = max(0, blocks - RETREAT)
            if most is not None:
                fewer = min(fewer, most())
            retreat(f"{blocks} layers did not fit on the GPU; trying {fewer}.")
            blocks = fewer


def learn(card: str, planned: Offload, wanted: int, blocks: int) -> None:
    """Draw the lesson from a load of `blocks` where `wanted` were tried first; `planned` is by what is free now.

    Only layers that should have fitted teach something: the margin grows until the next plan ends at these `blocks`.
    """
    card_bytes, more = planned.bytes_of(blocks), planned.bytes_of(min(blocks + 1, planned.shape.layers))
    room = planned.free_bytes - planned.margin_bytes - card_bytes
    if blocks >= wanted:
        if blocks and room < max(learned.STEP_BYTES, more - card_bytes):
            learned.loaded_without_fault(card)
        return
    missing = room - (more - card_bytes) + 1
    if missing > 0:
        learned.raise_margin(card, missing)


def shape_of_file(path: Path) -> Shape | None:
    """Return the numbers of a model by its file's header, None for one that our reader refuses: the engine may not."""
    try:
        return files.read_shape(path)
    except (Problem, OSError):
        return None


def shape_by_engine(lib: Any, path: Path) -> Shape:
    """Let the engine read a model's numbers without weights (50 to 250 ms). Raises as a failed load does."""
    with without_weights(lib, path, None, 0) as model:
        return shape_of_model(lib, model, path)


def shape_of_model(lib: Any, model: int, path: Path) -> Shape:
    """Return what the engine tells of a loaded model, for files that our reader refuses.

    It does not tell of tensors: the weights are spread evenly, and on the large side.
    """
    architecture = metadata(lib, model, "general.architecture")
    hidden, layers = lib.llama_model_n_embd(model), lib.llama_model_n_layer(model)
    heads = lib.llama_model_n_head(model)
    weights, parameters = lib.llama_model_size(model), lib.llama_model_n_params(model)
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    each = weights / max(1, parameters)
    embedding = round(vocabulary * hidden * each)
    block = Block(max(1, (weights - embedding) // max(1, layers)), 0, lib.llama_model_n_head_kv(model))

    def number(key: str, otherwise: int) -> int:
        text = metadata(lib, model, f"{architecture}.{key}")
        return int(text) if text.isdigit() else otherwise

    return Shape(
        parts=(Part(path.name, path.stat().st_size),),
        architecture=architecture,
        name="",
        hidden=hidden,
        feed_forward=number("feed_forward_length", 4 * hidden),
        heads=heads,
        key_length=number("attention.key_length", hidden // max(1, heads)),
        value_length=number("attention.value_length", hidden // max(1, heads)),
        vocabulary=vocabulary,
        context_length=lib.llama_model_n_ctx_train(model) or None,
        sliding_window=None,
        latent_attention=False,
        experts=0,
        experts_used=0,
        blocks=(block,) * layers,
        embedding_bytes=embedding,
        output_bytes=round(vocabulary * hidden * max(_OUTPUT_BYTES_PER_WEIGHT, each)),
        other_bytes=0,
        output_is_embedding=False,
        parameters=parameters,
        file_type=None,
        quantization="",
        type_bytes=(("", weights),),
        unknown_types=0,
        chat_template="",
    )


def _free_by_driver() -> dict[str, int]:
    """Return what the driver says is free, by the names of cards that are there once; nothing if it does not answer."""
    try:
        cards = Question("free memory on the cards", read_gpus).answer(_DRIVER_S).gpus
    except Exception:  # noqa: BLE001 - a driver may fail in any way, and this is only nice to know
        return {}
    names = [card.name for card in cards]
    return {card.name: card.free_bytes for card in cards if names.count(card.name) == 1}
