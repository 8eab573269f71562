"""How the next token is chosen, in ExLlamaV2's words."""

from __future__ import annotations

from typing import Any

from backends.base import Sampling


def settings(generator: Any, sampling: Sampling) -> Any:
    """Return the engine's settings with every stage set: its own defaults are not ours.

    A temperature below 0.01 is greedy to it; 0 switches `top_k`, `min_p` and the like off, and 1 the repeat penalty.
    Fields: ExLlamaV2Sampler.Settings of 0.3.2.
    """
    return generator.ExLlamaV2Sampler.Settings(
        temperature=sampling.temperature,
        top_k=sampling.top_k if sampling.top_p > 0 else 1,  # to it a top_p of 0 is none at all
        top_p=sampling.top_p,
        min_p=sampling.min_p,
        token_repetition_penalty=sampling.repeat_penalty,
        token_repetition_range=-1,
        token_repetition_decay=0,
        token_frequency_penalty=sampling.frequency_penalty,
        token_presence_penalty=sampling.presence_penalty,
        dry_multiplier=sampling.dry_multiplier,
        dry_base=sampling.dry_base,
        dry_allowed_length=sampling.dry_allowed_length,
        dry_range=0,
        dry_max_ngram=20,
        temperature_last=False,
        smoothing_factor=0.0,
        min_temp=0.0,
        max_temp=0.0,
        temp_exponent=1.0,
        top_a=0.0,
        tfs=0.0,
        typical=0.0,
        skew=0.0,
        mirostat=False,
        xtc_probability=0.0,
    )
