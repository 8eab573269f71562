"""What a preset may say about llama.cpp."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

KvCache = Literal["f16", "q8_0", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]

_Threads = Annotated[int, msgspec.Meta(ge=1, le=1024)]
_Batch = Annotated[int, msgspec.Meta(ge=1, le=16_384)]


class LlamaCppOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the llama.cpp backend.

    `gpu_layers` counts as llama.cpp does: 0 nothing, N the output layer and the last N-1 blocks, -1 everything; "auto"
    is as many as fit when the model is loaded, on the card with most free memory.
    `context` is in tokens and rounded up to a multiple of 256. `threads` "auto" is one for each physical core that
    this process may use, or what was measured to be best here; `prefill_threads` likewise, and follows a number in
    `threads`. `cpu_affinity` pins the process to CPUs such as "0-7,12". `saved_chats_gib` is how much disk the kept
    states of chats may take; 0 keeps none, and "auto" is 4, but 0 for a model that streams.

    Of a model that main memory does not hold, `read_ahead` reads each layer before its turn, and `hold_gib` of it stay
    in memory; "auto" is what the plan finds room for.
    """

    context: Annotated[int, msgspec.Meta(ge=256, le=16_777_216)] = 4096
    gpu_layers: Annotated[int, msgspec.Meta(ge=-1, le=10_000)] | Literal["auto"] = "auto"
    kv_cache: KvCache = "f16"
    flash_attention: FlashAttention = "auto"
    threads: _Threads | Literal["auto"] = "auto"
    prefill_threads: _Threads | Literal["auto"] = "auto"
    batch: _Batch = 512
    ubatch: _Batch = 512
    mmap: bool = True
    mlock: bool = False
    cpu_affinity: Annotated[str, msgspec.Meta(pattern=r"^[0-9,\- ]*$", max_length=4096)] = ""
    read_ahead: Literal["auto", "off"] = "auto"
    hold_gib: Annotated[float, msgspec.Meta(ge=0, le=1024)] | Literal["auto"] = "auto"
    saved_chats_gib: Annotated[float, msgspec.Meta(ge=0, le=1024)] | Literal["auto"] = "auto"
