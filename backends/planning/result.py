"""What is wished for, and what a plan says. Every figure tells where it comes from; unknown is None and never 0."""

from __future__ import annotations

from typing import Literal

import msgspec

from backends.planning.memory import KvCache, Setup
from backends.planning.speed import DEPTH

MARGIN_BYTES = 256 * 1024**2
"""Left free on a card: the driver's context, 107 MiB on an RTX 4060 Ti, and what is lost between buffers."""

Origin = Literal["exact", "rules", "formula", "measured", "published", "assumed", "unknown"]
"""`exact` follows from the file, `rules` from the engine's own for a file that is not here, `formula` was fitted to the
engine; `published` is a data sheet's or a series'."""

Change = Literal["context", "kv_cache", "quantization", "model"]


class Wishes(msgspec.Struct, frozen=True):
    """How a model is to be run. `context` is in tokens; "auto" leaves the choice to the plan.

    `gpu_layers` counts blocks, without the output layer. `margin_bytes` are to stay free on the card.
    `card_overhead_bytes` is what the engine's context takes on this card, where it was measured; otherwise the margin
    has to hold it. `depth` is where in an answer its speed is predicted, in tokens. `card_reached`, `memory_reached`
    and `disk_reached` are the bytes a second that decoding was seen to reach on this machine.

    Of a mapped model that main memory does not hold, at most `hold_bytes` stay there, None for as much as there is room
    for; with `read_ahead` the disk reads what comes next while the rest is computed.
    """

    context: int = 8192
    kv_cache: KvCache | Literal["auto"] = "auto"
    flash_attention: Literal["auto", "on", "off"] = "auto"
    gpu_layers: int | Literal["auto"] = "auto"
    ubatch: int = 512
    mmap: bool = True
    margin_bytes: int = MARGIN_BYTES
    card_overhead_bytes: int | None = None
    depth: int = DEPTH
    card_reached: int | None = None
    memory_reached: int | None = None
    disk_reached: int | None = None
    hold_bytes: int | None = None
    read_ahead: bool = True


GROUPS = ("weights", "kv", "compute", "overhead")
"""What bytes are for, as a `Tier` names it."""


class Tier(msgspec.Struct, frozen=True):
    """Bytes in one place. `total` is the sum of the four before it; `free` is None where unknown.

    Of the disk it is what each token reads again, all of it weights; they are not counted in main memory then.
    """

    weights: int
    kv: int
    compute: int
    overhead: int
    total: int
    free: int | None = None
    margin: int = 0

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """The sizes by what they are for, without what is not there."""
        return tuple((name, size) for name in GROUPS if (size := getattr(self, name)))


class Tiers(msgspec.Struct, frozen=True):
    """The card's memory, main memory and the disk."""

    vram: Tier
    ram: Tier
    ssd: Tier


class Input(msgspec.Struct, frozen=True):
    """One figure that the plan rests on. A name without a unit at its end is a group of the plan's bytes."""

    name: str
    value: float | None
    origin: Origin


class Alternative(msgspec.Struct, frozen=True):
    """The same model otherwise, or another one. `changes` names what is other.

    `quantization` is "" unless it is that, or the model; `family` is "" unless it is the model. `layers` are its
    blocks. `whole` says that everything that a token reads is on the card, `only_a_bound` that less than
    `tokens_per_second` will be reached.
    """

    changes: Change
    quantization: str
    context: int
    kv_cache: KvCache
    flash_attention: bool
    gpu_layers: int
    output_on_card: bool
    whole: bool
    fits: bool
    vram_bytes: int
    ram_bytes: int
    ssd_bytes: int
    tokens_per_second: float | None
    only_a_bound: bool = False
    family: str = ""
    layers: int = 0
    weight_bytes: int = 0


class Fit(msgspec.Struct, frozen=True):
    """How a model runs on a machine. Of `layers` blocks `gpu_layers` are on the card, the output layer apart from them.

    With `held_back` one more block is there, all but these matrices of it, named as in `gguf.shape.FEED_FORWARD`.
    Where main memory is too small for the rest, `needs_bytes` is what it would take; `kept_bytes` of the weights stay
    there, and the disk reads the others for each token, with `reads_ahead` while the CPU computes.

    `fits` says that nothing known is in the way. `tokens_per_second` is predicted, None where it is unknown. `card` is
    the place in the machine's list of the card that is planned for, None for none. Alternatives begin with contexts
    and end with quantisations and smaller models.
    """

    layers: int
    gpu_layers: int
    output_on_card: bool
    context: int
    kv_cache: KvCache
    flash_attention: bool
    ubatch: int
    bytes: Tiers
    fits: bool
    tokens_per_second: float | None
    card: int | None
    alternatives: tuple[Alternative, ...]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    inputs: tuple[Input, ...]
    held_back: tuple[str, ...] = ()
    only_a_bound: bool = False
    needs_bytes: int | None = None
    kept_bytes: int = 0
    reads_ahead: bool = False

    @property
    def short(self) -> Tier | None:
        """The place that is too small where it does not fit: the card's memory, or else main memory."""
        if self.fits:
            return None
        vram, ram = self.bytes.vram, self.bytes.ram
        return vram if vram.free is not None and vram.total > vram.free else ram

    @property
    def whole(self) -> bool:
        """Whether everything that a token reads is on the card."""
        return self.gpu_layers == self.layers and self.output_on_card

    @property
    def streamed_bytes(self) -> int | None:
        """Return what each token reads from the disk, None where it is not known whether main memory holds the rest."""
        return None if self.bytes.ram.free is None and not self.whole else self.bytes.ssd.total

    @property
    def setup(self) -> Setup:
        return Setup(self.context, self.kv_cache, self.flash_attention, self.ubatch)

    @property
    def engine_layers(self) -> int:
        """Return llama.cpp's n_gpu_layers."""
        return self.gpu_layers + bool(self.held_back) + 1 if self.output_on_card else 0
