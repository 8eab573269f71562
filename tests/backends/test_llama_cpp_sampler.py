"""Each stage of the sampler chain against an own reckoning over the real model's logits."""

from __future__ import annotations

import ctypes
import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from backends.base import Cancel, Sampling
from backends.llama_cpp import LlamaCppOptions, binding
from backends.llama_cpp.context import create_context
from backends.llama_cpp.decode import OK, Decoder
from backends.llama_cpp.model import load_model
from backends.llama_cpp.sampler import sampler_chain
from backends.llama_cpp.tokens import Vocabulary

GREEDY = Sampling(temperature=0)
OPEN = Sampling(temperature=1.0, top_p=1.0, seed=1)


class Bench:
    """A small context, and answers without anything around the sampler."""

    def __init__(self, path: Path) -> None:
        self.lib = binding.library()
        self.model = load_model(self.lib, path, LlamaCppOptions(), 0, lambda _progress: None, Cancel())
        self.vocabulary = Vocabulary(self.lib, self.model)
        self.size = self.lib.llama_vocab_n_tokens(self.vocabulary.handle)
        self.decoder = Decoder(self.lib, create_context(self.lib, self.model, LlamaCppOptions(context=1024, threads=1)))

    def close(self) -> None:
        self.decoder.close()
        self.lib.llama_model_free(self.model)

    def answer(self, text: str, sampling: Sampling, tokens: int = 32) -> tuple[list[int], list[list[float]]]:
        """Return the chosen tokens, and the logits that each was chosen from."""
        prompt = self.vocabulary.tokenize(text)
        self.decoder.reuse(prompt)
        assert self.decoder.extend(prompt[len(self.decoder.tokens) :]) == OK
        chosen: list[int] = []
        logits: list[list[float]] = []
        with sampler_chain(self.lib, self.vocabulary, sampling, prompt) as chain:
            for _ in range(tokens):
                row = self.lib.llama_get_logits_ith(self.decoder.context, -1)
                logits.append(ctypes.cast(row, ctypes.POINTER(ctypes.c_float * self.size)).contents[:])
                token = self.lib.llama_sampler_sample(chain, self.decoder.context, -1)
                chosen.append(token)
                assert self.decoder.extend([token]) == OK
        return chosen, logits


@pytest.fixture(scope="module")
def bench(starter_gguf: Path) -> Iterator[Bench]:
    bench = Bench(starter_gguf)
    yield bench
    bench.close()


def best(logits: Sequence[float]) -> int:
    return max(range(len(logits)), key=logits.__getitem__)


def chances(logits: Sequence[float]) -> list[float]:
    highest = max(logits)
    powers = [math.exp(value - highest) for value in logits]
    total = math.fsum(powers)
    return [power / total for power in powers]


TALE = "Once upon a time there was a shark who"


def test_temperature_0_takes_the_best_token_each_time(bench: Bench) -> None:
    chosen, logits = bench.answer(TALE, GREEDY, 16)
    assert chosen == [best(row) for row in logits]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=2.0, top_p=1.0, top_k=1, seed=5),
        Sampling(temperature=2.0, top_p=1.0, min_p=1.0, seed=5),
        Sampling(temperature=2.0, top_p=0.0, seed=5),
    ],
)
def test_a_stage_that_leaves_one_token_leaves_the_best(bench: Bench, sampling: Sampling) -> None:
    assert bench.answer(TALE, sampling, 16)[0] == bench.answer(TALE, GREEDY, 16)[0]


def test_the_same_seed_says_the_same_and_another_one_something_else(bench: Bench) -> None:
    def said(seed: int | None) -> list[int]:
        return bench.answer(TALE, Sampling(temperature=1.0, top_p=1.0, seed=seed), 24)[0]

    assert said(7) == said(7)
    assert len({tuple(said(seed)) for seed in (7, 8, None, None)}) == 4


def test_top_k_leaves_only_the_best_few(bench: Bench) -> None:
    chosen, logits = bench.answer(TALE, Sampling(temperature=5.0, top_p=1.0, top_k=3, seed=3))
    ranks = [sum(value > row[token] for value in row) for token, row in zip(chosen, logits, strict=True)]
    assert max(ranks) == 2
    assert max(sum(v > row[t] for v in row) for t, row in zip(*bench.answer(TALE, OPEN), strict=True)) > 2


def test_top_p_leaves_only_the_nucleus(bench: Bench) -> None:
    chosen, logits = bench.answer(TALE, Sampling(temperature=5.0, top_p=0.5, seed=3))
    for token, row in zip(chosen, logits, strict=True):
        chance = chances(row)
        # The nucleus is the smallest set of the best tokens that has half of all chance: those before ours have less.
        assert sum(other for other in chance if other > chance[token]) < 0.5 + 1e-4
    assert chosen != bench.answer(TALE, GREEDY)[0]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, repeat_penalty=1.3),
        Sampling(temperature=0, presence_penalty=-0.4),
        Sampling(temperature=1.5, top_p=1.0, top_k=40, seed=3),
        Sampling(temperature=1.5, top_p=1.0, min_p=0.05, frequency_penalty=0.5, seed=3),
        Sampling(temperature=0.6, top_p=0.9, repeat_penalty=0.9, seed=3),
        OPEN,
    ],
)
def test_to_leave_out_the_unlikely_tokens_first_changes_nothing_that_is_said(
    bench: Bench, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bench.answer(TALE, sampling, 24)[0]
    monkeypatch.setattr("backends.llama_cpp.sampler._LIKELIEST", bench.size)
    assert bench.answer(TALE, sampling, 24)[0] == said


def test_a_nucleus_is_found_sooner_among_the_likeliest_tokens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(temperature=0.6, top_p=0.95, repeat_penalty=1.1, seed=1)
    bench.answer(TALE, GREEDY, 1)
    with sampler_chain(bench.lib, bench.vocabulary, sampling, ()) as few:
        monkeypatch.setattr("backends.llama_cpp.sampler._few_will_do", lambda _sampling: False)
        with sampler_chain(bench.lib, bench.vocabulary, sampling, ()) as all_of_them:
            taken: tuple[list[float], list[float]] = ([], [])
            for _ in range(30):
                for chain, times in zip((few, all_of_them), taken, strict=True):
                    started = time.perf_counter()
                    bench.lib.llama_sampler_sample(chain, bench.decoder.context, -1)
                    times.append(time.perf_counter() - started)
    assert min(taken[0]) < 0.9 * min(taken[1])


def test_min_p_leaves_only_what_comes_near_the_best(bench: Bench) -> None:
    chosen, logits = bench.answer(TALE, Sampling(temperature=5.0, top_p=1.0, min_p=0.2, seed=3))
    for token, row in zip(chosen, logits, strict=True):
        assert math.exp(row[token] - max(row)) >= 0.2 - 1e-4
    assert chosen != bench.answer(TALE, GREEDY)[0]


def test_a_high_temperature_makes_unlikely_tokens_likelier(bench: Bench) -> None:
    def surprise(temperature: float) -> float:
        chosen, logits = bench.answer(TALE, Sampling(temperature=temperature, top_p=1.0, seed=3), 24)
        return statistics.mean(max(row) - row[token] for token, row in zip(chosen, logits, strict=True))

    assert surprise(0.2) < surprise(1.0) < surprise(3.0)


@pytest.mark.parametrize(
    "penalties",
    [
        {"repeat_penalty": 1.3},
        {"frequency_penalty": 0.7},
        {"presence_penalty": 4.0},
        {"repeat_penalty": 1.1, "frequency_penalty": 0.3, "presence_penalty": -0.4},
    ],
)
def test_penalties_count_the_last_64_tokens_of_prompt_and_answer(bench: Bench, penalties: dict[str, float]) -> None:
    text = "The sea, the sea, the sea, and the fish in the sea. " * 6
    sampling = Sampling(temperature=0, **penalties)
    chosen, logits = bench.answer(text, sampling, 24)
    seen = bench.vocabulary.tokenize(text)
    assert len(seen) > 64
    for token, row in zip(chosen, logits, strict=True):
        for other, count in Counter(seen[-64:]).items():
            value = row[other]
            value = value / sampling.repeat_penalty if value > 0 else value * sampling.repeat_penalty
            row[other] = value - count * sampling.frequency_penalty - sampling.presence_penalty
        assert token == best(row)
        seen.append(token)
    assert chosen != bench.answer(text, GREEDY, 24)[0]


def longest_repetition(tokens: Sequence[int]) -> int:
    """Return the length of the longest run of tokens that occurs twice without overlapping itself."""
    longest = 0
    for length in range(1, len(tokens) // 2 + 1):
        seen: dict[tuple[int, ...], int] = {}
        for start in range(len(tokens) - length + 1):
            first = seen.setdefault(tuple(tokens[start : start + length]), start)
            if start - first >= length:
                longest = length
                break
        else:
            break
    return longest


def test_dry_breaks_the_loop_in_which_a_greedy_answer_is_caught(bench: Bench) -> None:
    text = "List of words, separated by commas: sea, fish, sea, fish, sea, fish,"
    caught, _ = bench.answer(text, GREEDY, 96)
    assert longest_repetition(caught) >= 24
    freed, _ = bench.answer(text, Sampling(temperature=0, dry_multiplier=1.0), 96)
    assert longest_repetition(freed) <= 8


LINE = "Seven red foxes{}ran over hills at dawn. "


@pytest.mark.parametrize(("between", "allowed", "same"), [(" ", 3, False), (" ", 200, True), ("\n", 3, True)])
def test_dry_sees_the_prompt_and_forgives_what_is_short_or_begins_a_line(
    bench: Bench, between: str, allowed: int, same: bool
) -> None:
    text = LINE.format(between) * 3 + f"Seven red foxes{between}ran over"
    strong = Sampling(temperature=0, dry_multiplier=20.0, dry_allowed_length=allowed)
    (usual,), _ = bench.answer(text, GREEDY, 1)
    assert bench.vocabulary.piece(usual) == b" hills"
    assert (bench.answer(text, strong, 1)[0] == [usual]) is same


def test_a_token_costs_the_same_late_in_a_long_answer(bench: Bench) -> None:
    everything = Sampling(1.0, 0.9, 40, 0.05, 1.1, 0.1, 0.1, 0.8, seed=1)
    lib, cycle = bench.lib, bench.vocabulary.tokenize(TALE)
    bench.answer(TALE, GREEDY, 1)
    prompt = cycle * (4096 // len(cycle))
    with (
        sampler_chain(lib, bench.vocabulary, everything, prompt) as early,
        sampler_chain(lib, bench.vocabulary, everything, prompt) as late,
    ):
        for place in range(40_000):
            lib.llama_sampler_accept(late, cycle[place % len(cycle)])
        taken: tuple[list[float], list[float]] = ([], [])
        for _ in range(30):
            for chain, times in zip((early, late), taken, strict=True):
                started = time.perf_counter()
                lib.llama_sampler_sample(chain, bench.decoder.context, -1)
                times.append(time.perf_counter() - started)
    assert min(taken[1]) < 1.5 * min(taken[0])
