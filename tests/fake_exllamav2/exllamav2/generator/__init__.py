"""The dynamic generator, its jobs and the sampler's settings, with one sequence at a time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from exllamav2.world import world

PAGE = 256
_TURN = re.compile(r"<｜User｜>(.*?)<｜Assistant｜>", re.DOTALL)
_HALF = "\ufffd"


class ExLlamaV2Sampler:
    @dataclass
    class Settings:
        token_repetition_penalty: float = 1.025
        token_repetition_range: int = -1
        token_repetition_decay: int = 0
        token_frequency_penalty: float = 0.0
        token_presence_penalty: float = 0.0
        temperature: float = 0.8
        smoothing_factor: float = 0.0
        min_temp: float = 0
        max_temp: float = 0.0
        temp_exponent: float = 1.0
        top_k: int = 50
        top_p: float = 0.8
        top_a: float = 0.0
        min_p: float = 0
        tfs: float = 0
        typical: float = 0
        skew: float = 0
        temperature_last: bool = False
        mirostat: bool = False
        mirostat_tau: float = 1.5
        mirostat_eta: float = 0.1
        mirostat_mu: float | None = None
        token_bias: Any = None
        cfg_scale: float | None = None
        post_sampling_hooks: list[Any] = field(default_factory=list)
        dry_allowed_length: int = 2
        dry_base: float = 1.75
        dry_multiplier: float = 0.0
        dry_sequence_breakers: set[int] | None = None
        dry_range: int = 0
        dry_max_ngram: int = 20
        xtc_probability: float = 0.0
        xtc_threshold: float = 0.1
        xtc_ignore_tokens: frozenset[int] | None = None


class ExLlamaV2DynamicJob:
    def __init__(
        self,
        input_ids: torch.Tensor,
        max_new_tokens: int,
        min_new_tokens: int = 0,
        max_skips: int | None = 4,
        gen_settings: ExLlamaV2Sampler.Settings | None = None,
        seed: int | None = None,
        stop_conditions: list[Any] | None = None,
        decode_special_tokens: bool = False,
    ) -> None:
        assert input_ids.shape[0] == 1
        assert input_ids.shape[-1] > 0, "Input IDs cannot be empty."
        self.ids = list(input_ids[0].tolist())
        self.prompt_tokens = len(self.ids)
        self.max_new_tokens = max_new_tokens
        self.stop_tokens = {stop for stop in stop_conditions or () if isinstance(stop, int)}
        assert len(self.stop_tokens) == len(stop_conditions or ()), "stop strings are our own work"
        self.decode_special_tokens = decode_special_tokens
        self.kv_position = self.new_tokens = self.cached_pages = self.cached_tokens = 0
        self.held_text = self.full_completion = ""
        self.held_ids: list[int] = []
        self.queue: list[int] = []
        self.time_enqueue = self.time_first_prefill = self.time_first_token = 0.0
        world.settings.append(gen_settings)
        world.jobs.append(self)


class ExLlamaV2DynamicGenerator:
    def __init__(
        self,
        model: Any,
        cache: Any,
        tokenizer: Any,
        max_batch_size: int | None = None,
        max_seq_len: int | None = None,
        max_chunk_size: int | None = None,
        max_q_size: int = 16,
        max_sampling_threads: int = 16,
        min_sampling_threads: int = 3,
        paged: bool = True,
        filter_background_eval: bool = True,
        **kwargs: Any,
    ) -> None:
        assert not kwargs, f"the true one drops these silently: {kwargs}"
        assert not paged or world.paged, "Paged attention required Flash Attention 2.5.7 or later"
        assert cache.max_seq_len % PAGE == 0
        self.cache, self.tokenizer, self.paged = cache, tokenizer, paged
        self.page_size = PAGE if paged else cache.max_seq_len
        self.chunk = max_chunk_size or model.config.max_input_len
        assert self.chunk <= model.config.max_input_len
        assert not paged or self.chunk % PAGE == 0
        self.pending_jobs: list[ExLlamaV2DynamicJob] = []
        self.active_jobs: list[ExLlamaV2DynamicJob] = []
        self._kept: list[int] = []

    def warmup(self) -> None:
        assert self.cache.max_seq_len >= 64

    def num_remaining_jobs(self) -> int:
        return len(self.pending_jobs) + len(self.active_jobs)

    def clear_queue(self) -> None:
        self.pending_jobs.clear()
        self.active_jobs.clear()

    def enqueue(self, job: ExLlamaV2DynamicJob) -> int:
        total = -(-(len(job.ids) + job.max_new_tokens) // self.page_size)
        pages = self.cache.max_seq_len // self.page_size
        assert total <= pages, f"Job requires {total} pages (only {pages} available) and cannot be enqueued."
        job.queue = self._answer(job.ids)
        job.time_enqueue = time.time()
        self.pending_jobs.append(job)
        return 1

    def cancel(self, job: ExLlamaV2DynamicJob) -> None:
        for jobs in (self.pending_jobs, self.active_jobs):
            if job in jobs:
                jobs.remove(job)
        self._kept = job.ids[: job.kv_position]

    def iterate(self) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        if self.pending_jobs and not self.active_jobs:
            job = self.pending_jobs.pop(0)
            self.active_jobs.append(job)
            results.append({"job": job, "stage": "started", "eos": False, "serial": 1})
        for job in list(self.active_jobs):
            self._prefill(job, results)
            if job.kv_position == len(job.ids) - 1:
                self._token(job, results)
        return results

    def _prefill(self, job: ExLlamaV2DynamicJob, results: list[dict[str, Any]]) -> None:
        if job.time_first_prefill and job.kv_position == len(job.ids) - 1:
            return
        if not job.time_first_prefill:
            job.time_first_prefill = time.time()
            same = 0
            while same < min(len(self._kept), len(job.ids) - 1) and self._kept[same] == job.ids[same]:
                same += 1
            job.kv_position = same
            job.cached_pages, job.cached_tokens = divmod(same, self.page_size)
        step = min(self.chunk, len(job.ids) - 1 - job.kv_position)
        if step:
            time.sleep(world.slice_s)
        job.kv_position += step
        if job.kv_position:
            progress = {"curr_progress": job.kv_position, "max_progress": len(job.ids) - 1}
            results.append({"job": job, "stage": "prefill", "eos": False, "serial": 1, **progress})

    def _token(self, job: ExLlamaV2DynamicJob, results: list[dict[str, Any]]) -> None:
        if not job.time_first_token:
            job.time_first_token = time.time()
        time.sleep(world.token_s)
        if world.fail_after is not None and job.new_tokens >= world.fail_after:
            raise RuntimeError(world.failure)
        token = job.queue.pop(0)
        job.ids.append(token)
        job.kv_position += 1
        job.new_tokens += 1
        job.held_text += self.tokenizer.piece(token, job.decode_special_tokens)
        job.held_ids.append(token)
        if token in job.stop_tokens:
            shown = self.tokenizer.piece(token, True)
            self._end(job, {"eos_reason": "stop_token", "eos_triggering_token_str": shown}, results, held=False)
        elif job.new_tokens >= job.max_new_tokens:
            self._end(job, {"eos_reason": "max_new_tokens"}, results, held=True)
        else:
            if 1 <= job.held_text.count(_HALF) < 5:
                whole = self.tokenizer.decode(torch.tensor([job.held_ids]), job.decode_special_tokens)[0]
                if _HALF in whole:
                    results.append(self._result(job, False))
                    return
                job.held_text = whole
            results.append({**self._result(job, False), **self._emit(job)})

    def _end(self, job: ExLlamaV2DynamicJob, said: dict[str, Any], results: list[dict[str, Any]], held: bool) -> None:
        result = {**self._result(job, True), **said, **(self._emit(job) if held else {})}
        result |= {
            "full_completion": job.full_completion,
            "new_tokens": job.new_tokens,
            "prompt_tokens": job.prompt_tokens,
            "time_enqueued": job.time_first_prefill - job.time_enqueue,
            "time_prefill": job.time_first_token - job.time_first_prefill,
            "time_generate": time.time() - job.time_first_token,
            "cached_pages": job.cached_pages,
            "cached_tokens": job.cached_pages * self.page_size + job.cached_tokens,
        }
        if job.held_text:
            result["held"] = {"text": job.held_text, "token_ids": torch.tensor([job.held_ids])}
        results.append(result)
        self.cancel(job)

    def _result(self, job: ExLlamaV2DynamicJob, eos: bool) -> dict[str, Any]:
        return {"job": job, "stage": "streaming", "eos": eos, "serial": 1}

    def _emit(self, job: ExLlamaV2DynamicJob) -> dict[str, Any]:
        emitted: dict[str, Any] = {"token_ids": torch.tensor([job.held_ids])}
        if job.held_text:
            emitted["text"] = job.held_text
            job.full_completion += job.held_text
        job.held_text, job.held_ids = "", []
        return emitted

    def _answer(self, ids: list[int]) -> list[int]:
        """The tokens that the model says behind a prompt, its end included."""
        prompt = self.tokenizer.text(ids, True)
        before = prompt.rpartition("<｜Assistant｜>")[2].lstrip("\n")
        rest = _rest(world.mind(_TURN.findall(prompt)[-1]), before)
        return [*self.tokenizer.encode(rest, encode_special_tokens=True)[0].tolist(), self.tokenizer.eos_token_id]


def _rest(whole: str, before: str) -> str:
    """What is said behind `before`: the rest of the whole, or after a thought that was cut short, the text."""
    if whole.startswith(before):
        return whole[len(before) :]
    text, seen = whole.rpartition("</think>")[2].lstrip(), before.rpartition("</think>")[2].lstrip()
    return text[len(seen) :] if "</think>" in before and text.startswith(seen) else " and so on."
