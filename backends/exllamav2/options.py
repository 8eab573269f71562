"""What a preset may say about ExLlamaV2."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from backends.fitting import PAGE

KvCache = Literal["f16", "q8", "q6", "q4"]


class ExLlamaV2Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the ExLlamaV2 backend.

    `context` is in tokens and rounded up to a multiple of 256. `kv_cache` q4 takes a little more than a quarter of f16.
    `paged` is the better kind of attention, which needs the package flash-attn 2.5.7 and a card of the RTX 30 series or
    newer; "auto" takes it where it can be had. `slice` is how many tokens of a prompt are read at once: more is a
    little faster, takes more memory and can be stopped less soon. `reserve_mib` is what stays free on each card.
    """

    context: Annotated[int, msgspec.Meta(ge=256, le=16_777_216)] = 4096
    kv_cache: KvCache = "q4"
    paged: bool | Literal["auto"] = "auto"
    slice: Annotated[int, msgspec.Meta(ge=PAGE, le=16_384, multiple_of=PAGE)] = 512
    reserve_mib: Annotated[int, msgspec.Meta(ge=0, le=1 << 20)] = 192
