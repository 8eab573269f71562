"""The conformance class finds what it is there to find: each of its promises fails for a backend that breaks it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from backends.conformance import BackendConformance
from tests.backends import wrong_answers, wrong_backends, wrong_loads, wrong_manners
from tests.backends.wrong_backends import HELD, WRONG, Right, Wrong

assert wrong_answers
assert wrong_loads
assert wrong_manners

pytest_plugins = ["pytester"]

PROMISES = sorted(name for name in dir(BackendConformance) if name.startswith("test_"))
IMPORT = "test_importing_it_imports_no_engine_and_prints_nothing"


@pytest.fixture(autouse=True)
def _fresh_world() -> None:
    HELD["bytes"] = 0
    wrong_backends.SENT.clear()


def verdict(conformance: type[BackendConformance], promise: str) -> BaseException | None:
    """Return why a promise is broken, None if it is kept. A skipped one counts as neither: it fails this test."""
    try:
        getattr(conformance(), promise)()
    except pytest.skip.Exception as reason:
        raise AssertionError(f"{promise} was skipped: {reason}") from reason
    except (Exception, pytest.fail.Exception) as broken:
        return broken
    return None


@pytest.mark.parametrize("promise", PROMISES)
def test_the_right_backend_keeps(promise: str) -> None:
    broken = verdict(Right, promise)
    if broken is not None:
        raise broken


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.promise.removeprefix('test_')}: {wrong.what}")
def test_it_finds_a_backend_that_breaks(wrong: Wrong) -> None:
    assert verdict(wrong.conformance, wrong.promise) is not None, f"nobody noticed that it {wrong.what}"


def test_every_promise_has_a_backend_that_breaks_it() -> None:
    assert {wrong.promise for wrong in WRONG} | {IMPORT} == set(PROMISES)


@pytest.mark.parametrize(
    ("source", "says"),
    [("import httpx", "httpx"), ("import wave", "wave"), ("print('hello')", "hello"), ("1 / 0", "ZeroDivisionError")],
)
def test_it_finds_a_module_that_does_too_much_when_it_is_imported(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy_engine.py").write_text(f"{source}\n")
    monkeypatch.syspath_prepend(tmp_path)
    heavy = type("Heavy", (Right.backend,), {"__module__": "heavy_engine"})
    settings = type("Settings", (Right,), {"backend": heavy, "engine_modules": ("wave",)})
    assert says in str(verdict(settings, IMPORT))


def run(pytester: pytest.Pytester, backend: str) -> pytest.RunResult:
    """Let a stranger's pytest test a backend with the least that it must provide."""
    pytester.makepyfile(
        f"""
        from backends.base import Sampling
        from backends.conformance import BackendConformance, Failing, Setup
        from backends.echo import EchoBackend
        from backends.errors import OutOfMemory
        from backends.events import Done

        class Twice(EchoBackend):
            def chat(self, request, cancel):
                yield from super().chat(request, cancel)
                yield Done("stop")

        class TestMine(BackendConformance):
            backend = {backend}

            def plain(self):
                return Setup("a", {{"text": "one two three four five six seven eight nine ten"}})

            def slow_decode(self):
                return Setup("a", {{"text": "one two three four " * 4, "tokens_per_second": 10.0}})

            def broken(self):
                return [Failing("a model that is too large", Setup("a", {{"fail": "load"}}), OutOfMemory)]
        """
    )
    # A process of its own: what it imports must have its assertions rewritten by its own pytest.
    return pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider", "--import-mode=importlib")


def test_a_stranger_provides_three_scenarios_and_is_told_which_others_there_are(pytester: pytest.Pytester) -> None:
    result = run(pytester, "EchoBackend")
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] + outcomes["skipped"] == len(PROMISES)
    assert outcomes["passed"] > len(PROMISES) / 2
    result.stdout.fnmatch_lines(["*echo provides no thinking: An answer with a thought*"])


def test_a_stranger_reads_what_is_wrong(pytester: pytest.Pytester) -> None:
    result = run(pytester, "Twice")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*AssertionError: an answer has exactly one Done, not 2*", "*assert 2 == 1*"])


def test_what_is_required_and_missing_is_named() -> None:
    incomplete = type("Incomplete", (BackendConformance,), {"backend": Right.backend})
    for scenario in ("plain", "slow_decode", "broken"):
        with pytest.raises(NotImplementedError, match=rf"Incomplete must provide {scenario}\(\)"):
            getattr(incomplete(), scenario)()


def test_a_backend_that_hangs_fails_its_test_instead_of_holding_it_up() -> None:
    class Hanging(Right.backend):  # type: ignore[misc, name-defined]
        def unload(self) -> None:
            released.wait(10)

    released = threading.Event()
    settings = type("Settings", (Right,), {"backend": Hanging, "patience_s": 0.2})
    started = time.monotonic()
    broken = verdict(settings, "test_unload_without_a_model_and_unload_again_are_harmless")
    released.set()
    assert "unload has not ended after 0.2 s" in str(broken)
    assert time.monotonic() - started < 5
