"""ELIZA keeps every promise of the backend interface."""

from __future__ import annotations

from collections.abc import Sequence

from deepseek_tui_eliza import ElizaBackend

from backends.base import Message
from backends.conformance import BackendConformance, Failing, Setup
from backends.errors import ModelNotFound

FAST = {"words_per_second": 0}


class TestEliza(BackendConformance):
    backend = ElizaBackend

    def plain(self) -> Setup:
        question = (Message("user", "I am tired of my computer."),)
        answer = (
            "How long have you been tired of your computer, and how do you feel about being tired of your computer?"
        )
        return Setup("doctor", FAST, question, text=answer)

    def slow_decode(self) -> Setup:
        return Setup("doctor", {"words_per_second": 8})

    def broken(self) -> Sequence[Failing]:
        return [Failing("a script that it does not have", Setup("poet"), ModelNotFound)]

    def missing_model(self) -> Setup:
        return Setup("nobody")

    def small_context(self) -> Setup:
        return Setup("doctor", FAST | {"context": 256})
