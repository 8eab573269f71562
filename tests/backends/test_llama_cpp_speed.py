"""The speed that is shown at the end of an answer is the engine's own, within two percent."""

from __future__ import annotations

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
    sampled_ms: list[float] = []
    free = lib.llama_sampler_free

    def noting(chain: int) -> None:
        sampled_ms.append(lib.llama_perf_sampler(chain).t_sample_ms)
        free(chain)

    monkeypatch.setattr(lib, "llama_sampler_free", noting)
    backend = LlamaCppBackend()
    # One thread: on a busy machine two of them wait for each other at every operation.
    options = LlamaCppBackend.Options(context=1024, threads=1)
    backend.load(str(starter_gguf), options, lambda _progress: None, Cancel())
    try:
        ratios = []
        for _ in range(ATTEMPTS):
            ratios.append(shown_beside_the_engines(backend, lib, sampled_ms))
            if abs(ratios[-1] - 1) <= 0.02:
                return
        pytest.fail(f"shown speed / engine's own: {ratios}")
    finally:
        backend.unload()


def shown_beside_the_engines(backend: LlamaCppBackend, lib: Any, sampled_ms: list[float]) -> float:
    context = backend._warm().model.decoder.context
    lib.llama_perf_context_reset(context)
    *_, done = backend.chat(ChatRequest(STORY, Sampling(seed=1, max_tokens=TOKENS)), Cancel())
    assert isinstance(done, Done)
    assert done.timings.tokens_per_second is not None
    own = lib.llama_perf_context(context)
    assert own.n_eval == TOKENS - 1
    return done.timings.tokens_per_second / (own.n_eval / (own.t_eval_ms + sampled_ms[-1]) * 1e3)
