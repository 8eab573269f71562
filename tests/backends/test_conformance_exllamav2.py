"""ExLlamaV2 keeps every promise of the interface, with paged attention and without; the engine is a stand-in.

On a machine with a card, `pytest -m gpu` runs the true one: see test_exllamav2_true_card.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.base import Message, Sampling
from backends.conformance import BackendConformance, Failing, Setup
from backends.errors import BackendError, BadModelFile, BadOptions, OutOfMemory
from backends.exllamav2 import ExLlamaV2Backend
from tests.backends.exllamav2_world import stand_in, write_folder

THOUGHT = "They ask about the sea. It is large, and it is blue, and there are fish in it."
SAID = "The sea is wide and blue, and nobody has ever seen the whole of it at once."
LONG = " ".join(f"wave {number}" for number in range(1500))
GREEDY = Sampling(temperature=0, seed=1)


class TestPaged(BackendConformance):
    backend = ExLlamaV2Backend
    engine_modules = ("exllamav2", "torch", "tokenizers")
    paged = True
    world: Any

    @pytest.fixture(autouse=True)
    def _stand_in(self, tmp_path: Path) -> Iterator[None]:
        self.folder = tmp_path / "models"
        with stand_in() as self.world:
            self.world.paged = self.paged
            yield

    def asked(self, said: str, template: str = "r1-distill-first", **more: Any) -> Setup:
        self.world.mind = lambda _question: said
        path = write_folder(self.folder / template, template=template)
        options = {"context": 4096, **more.pop("options", {})}
        return Setup(str(path), options, sampling=GREEDY, **{"text": said, **more})

    def plain(self) -> Setup:
        return self.asked(SAID)

    def slow_decode(self) -> Setup:
        self.world.token_s = 0.005
        return self.asked(LONG)

    def broken(self) -> Sequence[Failing]:
        folder = write_folder(self.folder / "other", quantization={"quant_method": "awq", "bits": 4})
        large = write_folder(self.folder / "large", size=9 * 1024**3)
        return [
            Failing("a quantization of another engine", Setup(str(folder)), BadModelFile),
            Failing("a model that is too large", Setup(str(large)), OutOfMemory),
            Failing("an option out of its range", Setup(str(folder), {"context": 1}), BadOptions),
        ]

    def missing_model(self) -> Setup:
        return Setup(str(self.folder / "not-there"))

    def thinking(self) -> Setup:
        whole = f"<think>\n{THOUGHT}\n</think>\n\n{SAID}"
        return self.asked(whole, "r1-distill", text=SAID, thought=f"{THOUGHT}\n")

    def empty_answer(self) -> Setup:
        return self.asked("")

    def unicode(self) -> Setup:
        return self.asked("Das Meer: 海は広いな、大きいな 🌊 ﷽ 👩‍👩‍👧‍👦 — ўзбек.")

    def slow_load(self) -> Setup:
        setup = self.plain()
        self.world.module_s = 0.1
        return setup

    def slow_prefill(self) -> Setup:
        setup = self.asked(SAID, messages=(Message("user", "word " * 3000),))
        self.world.slice_s = 0.4
        return setup

    def small_context(self) -> Setup:
        return self.asked(SAID, options={"context": 256})

    def full_context(self) -> Setup:
        return self.asked(LONG, options={"context": 256}, text=None)

    def failing_answer(self) -> Failing:
        setup = self.plain()
        self.world.fail_after, self.world.failure = 6, "an error that nobody has foreseen"
        return Failing("an engine that fails in mid-answer", setup, BackendError)

    def held_bytes(self) -> int:
        return int(self.world.used)


class TestUnpaged(TestPaged):
    """As on a card before the RTX 30 series, or without flash-attn."""

    paged = False
