"""Every promise of the backend interface as a test: derive a test class from `BackendConformance`, and run pytest.

    from backends.base import Sampling
    from backends.conformance import BackendConformance, Failing, Setup
    from backends.errors import BadModelFile
    from mine import MyBackend

    class TestMyBackend(BackendConformance):
        backend = MyBackend
        engine_modules = ("my_engine",)

        def plain(self): return Setup("a-model", {"context": 512})
        def slow_decode(self): return Setup("a-model", {"context": 512}, sampling=Sampling(max_tokens=400))
        def broken(self): return [Failing("a model of another kind", Setup("no-model"), BadModelFile)]

Those three are required. Each further scenario that a backend can provide (see `backends.conformance.setting.Setting`)
brings the promises that need it; the others are skipped, and the reason says which scenario was missing (`pytest -rs`).
pytest must be installed: this package is the only one here that imports it.
"""

import pytest

_PROMISES = ("outside", "loads", "answers", "thoughts", "stops", "chats", "partials")
pytest.register_assert_rewrite("backends.conformance.law", *(f"backends.conformance.{name}" for name in _PROMISES))

from backends.conformance.answers import AnswerPromises  # noqa: E402 - behind what makes their assertions speak
from backends.conformance.chats import ChatPromises  # noqa: E402
from backends.conformance.loads import LoadPromises  # noqa: E402
from backends.conformance.outside import OutsidePromises  # noqa: E402
from backends.conformance.partials import PartialPromises  # noqa: E402
from backends.conformance.setting import Failing, Setting, Setup  # noqa: E402
from backends.conformance.stops import StopPromises  # noqa: E402
from backends.conformance.thoughts import ThoughtPromises  # noqa: E402

__all__ = ["BackendConformance", "Failing", "Setting", "Setup"]


class BackendConformance(
    OutsidePromises, LoadPromises, AnswerPromises, ThoughtPromises, StopPromises, ChatPromises, PartialPromises
):
    """Every promise of the interface. Derive a class named Test… and say what `Setting` asks for."""
