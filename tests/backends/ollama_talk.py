"""Load and ask the Ollama backend against a scripted server, in a line or two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from backends.errors import BackendError
from backends.ollama import OllamaBackend, OllamaOptions
from tests.backends import talk
from tests.backends.fake_ollama import FakeOllama
from tests.backends.talk import HELLO, Answer, later, until

__all__ = ["HELLO", "Answer", "Talk", "failed", "later", "serving", "until"]


class Talk(talk.Talk):
    """The Ollama backend with a model of `server` loaded. Use it in a `with` block."""

    def __init__(self, server: FakeOllama, model: str = "tiny", **options: Any) -> None:
        self.server = server
        super().__init__(OllamaBackend(), model, msgspec.convert({"host": server.url, **options}, OllamaOptions))


def failed(server: FakeOllama, model: str = "tiny", **options: Any) -> BackendError:
    """Load what cannot be loaded; return the error."""
    try:
        Talk(server, model, **options).load()
    except BackendError as error:
        return error
    raise AssertionError(f"{model} was loaded")


def serving(**models: Any) -> Iterator[FakeOllama]:
    """A scripted server with these models."""
    with FakeOllama() as server:
        for name, model in models.items():
            server.models[f"{name}:latest"] = model
        yield server
