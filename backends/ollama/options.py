"""What a preset may say about Ollama."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

_Threads = Annotated[int, msgspec.Meta(ge=1, le=1024)]


class OllamaOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of the Ollama backend. What is "auto" or None is left to the server.

    `host` is a URL or an address as in OLLAMA_HOST; "" is that variable, or this machine. `context` is in tokens.
    `gpu_layers` counts as in llama.cpp: 0 nothing, N the output layer and the last N-1 blocks. `main_gpu` is the index
    of the card that holds what is not split. The type of the KV cache and flash attention are settings of the server
    alone (OLLAMA_KV_CACHE_TYPE, OLLAMA_FLASH_ATTENTION in its environment).
    """

    host: Annotated[str, msgspec.Meta(max_length=2048)] = ""
    context: Annotated[int, msgspec.Meta(ge=256, le=16_777_216)] = 4096
    gpu_layers: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | Literal["auto"] = "auto"
    threads: _Threads | Literal["auto"] = "auto"
    batch: Annotated[int, msgspec.Meta(ge=1, le=16_384)] | None = None
    mmap: bool | None = None
    main_gpu: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None


def runner_options(options: OllamaOptions, context: int) -> dict[str, Any]:
    """Return the load options in Ollama's words. Each request must carry the same: a changed one loads anew."""
    wanted: dict[str, Any] = {
        "num_ctx": context,
        "num_gpu": None if options.gpu_layers == "auto" else options.gpu_layers,
        "num_thread": None if options.threads == "auto" else options.threads,
        "num_batch": options.batch,
        "use_mmap": options.mmap,
        "main_gpu": options.main_gpu,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def insists(options: OllamaOptions) -> bool:
    """Say whether a preset wants more than a context: then a model that others loaded may have to be loaded anew."""
    return len(runner_options(options, 0)) > 1
