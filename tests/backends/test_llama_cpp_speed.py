"""The speed that is shown at the end of an answer is the engine's own, within two percent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from backends.base import Cancel, ChatRequest, Message, Sampling
from backends.events import Done
from backends.llama_cpp import LlamaCppBackend, binding

STORY = (Message("user", "Tell me a long story about a fox and a river."),)
TOKENS = 120
ATTEMPTS = 6


def test_tokens_a_second_agree_with_the_engines_own_counters(
    starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib: Any = binding.library()
    sampled_s: list[float] = []
    sample = lib.llama_sampler_sample

    # The engine's counter of sampling leaves out the list of candidates, which the same call makes for each token.
    def timed(*arguments: Any) -> Any:
        begun = time.perf_counter()
        token = sample(*arguments)
        sampled_s.append(time.perf_counter() - begun)
        return token

    monkeypatch.setattr(lib, "llama_sampler_sample", timed)
    backend = LlamaCppBackend()
    # One thread: on a busy machine two of them wait for each other at every operation.
    options = LlamaCppBackend.Options(context=1024, threads=1)
    backend.load(str(starter_gguf), options, lambda _progress: None, Cancel())
    try:
        tried = []
        for _ in range(ATTEMPTS):
            sampled_s.clear()
            shown_ms, decoded_ms = shown_beside_the_engines(backend, lib)
            sampled_ms = sum(sampled_s) / (TOKENS - 1) * 1e3
            if abs((decoded_ms + sampled_ms) / shown_ms - 1) <= 0.02:
                return
            tried.append(f"{shown_ms:.3f} shown, {decoded_ms:.3f} decoding, {sampled_ms:.3f} sampling")
        pytest.fail("ms a token: " + "; ".join(tried))
    finally:
        backend.unload()


def shown_beside_the_engines(backend: LlamaCppBackend, lib: Any) -> tuple[float, float]:
    """Return how many ms a token takes by what is shown, and how many the engine says it decoded."""
    context = backend._warm().model.decoder.context
    lib.llama_perf_context_reset(context)
    *_, done = backend.chat(ChatRequest(STORY, Sampling(seed=1, max_tokens=TOKENS)), Cancel())
    assert isinstance(done, Done)
    assert done.timings.tokens_per_second is not None
    own = lib.llama_perf_context(context)
    assert own.n_eval == TOKENS - 1
    return 1e3 / done.timings.tokens_per_second, own.t_eval_ms / own.n_eval
