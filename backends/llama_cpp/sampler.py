"""The chain of samplers that chooses the next token."""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from backends.base import Sampling
from backends.llama_cpp.tokens import Vocabulary

# How far back the stages look, in tokens; so an answer may grow and its tokens cost no more. 64 is llama.cpp's own
# default; DRY looks for long passages: over 4,096 tokens it costs 0.1 ms a token at most (measured).
_PENALTY_TOKENS = 64
_DRY_TOKENS = 4096
# llama.cpp's own defaults: a repetition ends where one of them comes, so that lists and dialogues remain possible.
_DRY_BREAKERS = (b"\n", b":", b'"', b"*")
# All but the likeliest tokens are dropped first: with 152,000 of them, what is done to each is most of the work.
_LIKELIEST = 1000
_SEEDS = 2**32 - 1  # the engine takes the largest 32-bit number for "choose one"


@contextmanager
def sampler_chain(lib: Any, vocabulary: Vocabulary, sampling: Sampling, prompt: Sequence[int]) -> Iterator[int]:
    """Give the engine's handle of a chain, in llama.cpp's own order.

    Penalties, DRY, top-k, top-p, min-p, temperature, then chance; temperature 0 takes the best after the penalties.
    Where that makes no difference, or next to none, only the 1,000 likeliest tokens go through it: see `_few_will_do`.
    `prompt` is what the penalties and DRY have already seen.
    """
    params = lib.llama_sampler_chain_default_params()
    params.no_perf = False
    chain = lib.llama_sampler_chain_init(params)
    try:
        for stage in _stages(lib, vocabulary, sampling):
            lib.llama_sampler_chain_add(chain, stage)
        for token in prompt[max(0, len(prompt) - _looks_back(sampling)) :]:
            lib.llama_sampler_accept(chain, token)
        yield chain
    finally:
        lib.llama_sampler_free(chain)


def _stages(lib: Any, vocabulary: Vocabulary, sampling: Sampling) -> Iterator[int]:
    if _few_will_do(sampling):
        yield lib.llama_sampler_init_top_k(_LIKELIEST)
    if _penalizes(sampling):
        penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
        size = lib.llama_vocab_n_tokens(vocabulary.handle)
        yield lib.llama_sampler_init_penalties(size, _PENALTY_TOKENS, *penalties)
    if sampling.dry_multiplier > 0:
        breakers = (ctypes.c_char_p * len(_DRY_BREAKERS))(*_DRY_BREAKERS)
        strength = (sampling.dry_multiplier, sampling.dry_base, sampling.dry_allowed_length)
        yield lib.llama_sampler_init_dry(vocabulary.handle, *strength, _DRY_TOKENS, breakers, len(breakers))
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


def _penalizes(sampling: Sampling) -> bool:
    return (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty) != (1, 0, 0)


def _few_will_do(sampling: Sampling) -> bool:
    """Say whether tokens beyond the 1,000 likeliest may be left out from the start.

    Before top-k, min-p or the best one that makes no difference, as long as no penalty lifts a token: they take down
    the few that came before. Of top-p it takes their share of all chance: the nucleus is that of the 1,000.
    """
    lifts = sampling.repeat_penalty < 1 or sampling.frequency_penalty < 0 or sampling.presence_penalty < 0
    if sampling.temperature <= 0:
        return not lifts and (_penalizes(sampling) or sampling.dry_multiplier > 0)
    narrow = sampling.top_p < 1 or 0 < sampling.top_k < _LIKELIEST // 2 or sampling.min_p > 2 / _LIKELIEST
    return not lifts and narrow


def _looks_back(sampling: Sampling) -> int:
    """Return how many tokens of the prompt the chain has to see."""
    if sampling.dry_multiplier > 0:
        return _DRY_TOKENS
    return _PENALTY_TOKENS if _penalizes(sampling) else 0
