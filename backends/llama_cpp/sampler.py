"""The chain of samplers that chooses the next token."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from backends.base import Sampling
from backends.llama_cpp.tokens import Vocabulary

# How far back a repeat penalty looks: llama.cpp's own default.
_PENALTY_TOKENS = 64
_SEEDS = 2**32 - 1  # the engine takes the largest 32-bit number for "choose one"


@contextmanager
def sampler_chain(lib: Any, vocabulary: Vocabulary, sampling: Sampling, prompt: Sequence[int]) -> Iterator[int]:
    """Give the engine's handle of a chain: penalties, top-k, top-p, min-p, temperature, then chance or the best.

    Temperature 0 always takes the best. `prompt` is what a repeat penalty has already seen.
    """
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    try:
        for stage in _stages(lib, vocabulary, sampling):
            lib.llama_sampler_chain_add(chain, stage)
        if sampling.repeat_penalty != 1:
            for token in prompt[-_PENALTY_TOKENS:]:
                lib.llama_sampler_accept(chain, token)
        yield chain
    finally:
        lib.llama_sampler_free(chain)


def _stages(lib: Any, vocabulary: Vocabulary, sampling: Sampling) -> Iterator[int]:
    if sampling.repeat_penalty != 1:
        size = lib.llama_vocab_n_tokens(vocabulary.handle)
        yield lib.llama_sampler_init_penalties(size, _PENALTY_TOKENS, sampling.repeat_penalty, 0.0, 0.0)
    if sampling.temperature <= 0:
        yield lib.llama_sampler_init_greedy()
        return
    if sampling.top_k > 0:
        yield lib.llama_sampler_init_top_k(sampling.top_k)
    if sampling.top_p < 1:
        yield lib.llama_sampler_init_top_p(sampling.top_p, 1)
    if sampling.min_p > 0:
        yield lib.llama_sampler_init_min_p(sampling.min_p, 1)
    yield lib.llama_sampler_init_temp(sampling.temperature)
    seed = secrets.randbelow(_SEEDS) if sampling.seed is None else sampling.seed % _SEEDS
    yield lib.llama_sampler_init_dist(seed)
