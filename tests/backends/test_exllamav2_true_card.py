"""The true ExLlamaV2 on a true card keeps every promise of the interface.

DEEPSEEK_TUI_TEST_EXL2=/path/to/a/folder python -m pytest -m gpu tests/backends/test_exllamav2_true_card.py
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.base import Message, Sampling
from backends.conformance import BackendConformance, Failing, Setup
from backends.errors import BadModelFile, OutOfMemory
from backends.exllamav2 import ExLlamaV2Backend

_FOLDER = os.environ.get("DEEPSEEK_TUI_TEST_EXL2", "")

pytestmark = pytest.mark.gpu
if not _FOLDER:
    pytest.skip("no folder is named: DEEPSEEK_TUI_TEST_EXL2=FOLDER python -m pytest -m gpu", allow_module_level=True)

STORY = (Message("user", "Write a very long story about a dragon and its castle."),)
LONG = (Message("user", "The quick brown fox jumps over the lazy dog. " * 700),)


class TestTrueExLlamaV2(BackendConformance):
    backend = ExLlamaV2Backend
    engine_modules = ("exllamav2", "torch", "tokenizers")
    check_bound_s = 20.0
    patience_s = 600.0  # the first load compiles its kernels

    def asked(self, most: int, messages: tuple[Message, ...] = STORY, context: int = 2048) -> Setup:
        sampling = Sampling(temperature=0.0, seed=1, max_tokens=most)
        return Setup(_FOLDER, {"context": context}, messages, sampling, reasoning="none")

    def plain(self) -> Setup:
        return self.asked(40)

    def slow_decode(self) -> Setup:
        return self.asked(1500)

    def slow_prefill(self) -> Setup:
        return self.asked(40, LONG, context=8192)

    def broken(self) -> Sequence[Failing]:
        here = Setup(str(Path(__file__).parent))
        return [
            Failing("a folder without a model", here, BadModelFile),
            Failing("a context that no card holds", Setup(_FOLDER, {"context": 1 << 22}), OutOfMemory),
        ]

    def missing_model(self) -> Setup:
        return Setup(f"{_FOLDER}-not-there")

    def unicode(self) -> Setup:
        return self.asked(60, (Message("user", "Repeat exactly: 海は広い 🐋 naïve Ελλάδα"),))

    def small_context(self) -> Setup:
        return self.asked(40, context=256)

    def full_context(self) -> Setup:
        return Setup(_FOLDER, {"context": 256}, STORY, Sampling(temperature=0.0, seed=1), reasoning="none")

    def held_bytes(self) -> int:
        import torch

        return int(torch.cuda.memory_reserved())
