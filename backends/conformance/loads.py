# ruff: noqa: S101 - a promise is an assertion
"""What is promised of loading and unloading."""

from __future__ import annotations

import time

import msgspec
import pytest

from backends.base import Cancel, Cancelled
from backends.conformance import law
from backends.conformance.asking import loaded, prepared
from backends.conformance.setting import Failing, Setting
from backends.errors import BackendError, BadOptions, ModelNotFound

# How much of what a model held may stay behind: an allocator does not give back every page.
_MAY_STAY = 0.2


class LoadPromises(Setting):
    """Promises of `load` and `unload`."""

    def test_a_model_is_loaded_with_progress_and_described(self) -> None:
        with loaded(self, self.plain()) as session:
            assert session.loaded is not None
            law.check_loaded(session.loaded)
            assert session.reports, "loading reports at least once"
            law.check_reports(session.reports)
            for sent in (session.loaded, *session.reports):
                assert msgspec.json.decode(msgspec.json.encode(sent), type=type(sent)) == sent

    def test_what_cannot_be_loaded_is_a_typed_error(self) -> None:
        failing = self.broken()
        assert failing, "broken() must provide at least one setup"
        for wrong in failing:
            self._refused(wrong)

    def test_a_model_that_is_not_there_is_model_not_found(self) -> None:
        self._refused(Failing("a model that is not there", self.provided("missing_model"), ModelNotFound))

    def test_after_a_failed_load_another_model_can_be_loaded(self) -> None:
        wrong = self.broken()[0]
        with prepared(self, wrong.setup) as session:
            with pytest.raises((BackendError, msgspec.ValidationError)):
                session.load()
            session.setup = self.plain()
            session.load()
            assert session.ask().text

    def test_unload_without_a_model_and_unload_again_are_harmless(self) -> None:
        with prepared(self, self.plain()) as session:
            session.unload()
            session.load()
            session.unload()
            session.unload()

    def test_after_unload_a_question_is_a_typed_error(self) -> None:
        with loaded(self, self.plain()) as session:
            session.unload()
            session.fail(BackendError, "a question without a model")

    def test_an_unloaded_model_can_be_loaded_again(self) -> None:
        with loaded(self, self.plain()) as session:
            session.unload()
            session.load()
            assert session.ask().text

    def test_unload_gives_the_memory_back(self) -> None:
        before = self.held_bytes()
        if before is None:
            pytest.skip(f"{self.backend.name} provides no held_bytes: what a model holds cannot be seen")
        with loaded(self, self.plain()) as session:
            session.ask()
            held = (self.held_bytes() or 0) - before
            assert held > 0, "a loaded model holds memory"
            session.unload()
            left = (self.held_bytes() or 0) - before
            assert left <= held * _MAY_STAY, f"of {held} bytes {left} are still held"

    def test_a_load_that_was_stopped_before_it_began_is_cancelled(self) -> None:
        cancel = Cancel()
        cancel.set()
        with prepared(self, self.plain()) as session:
            with pytest.raises(Cancelled):
                session.load(cancel)
            session.load()
            assert session.ask().text

    def test_a_load_that_is_stopped_at_its_first_report_is_cancelled(self) -> None:
        cancel = Cancel()
        with prepared(self, self.plain()) as session:
            with pytest.raises(Cancelled):
                session.load(cancel, lambda _progress: cancel.set())
            session.load()
            assert session.ask().text

    def test_a_running_load_ends_soon_after_it_was_stopped(self) -> None:
        setup, cancel = self.provided("slow_load"), Cancel()
        with prepared(self, setup) as session:
            options = session.options()
            result = session.thread.begin(
                lambda: session.backend.load(setup.model, options, session.reports.append, cancel)
            )
            time.sleep(0.2)
            assert result.empty(), "the model was loaded before it could be stopped: this setup is not slow enough"
            stopped = time.monotonic()
            cancel.set()
            _, error = result.get(timeout=self.patience_s)
            delay = time.monotonic() - stopped
            assert isinstance(error, Cancelled), f"a stopped load raises Cancelled, not {error!r}"
            assert delay <= self.stop_bound_s, f"it took {delay:.2f} s to stop"
            session.load()
            assert session.loaded is not None

    def _refused(self, wrong: Failing) -> None:
        with prepared(self, wrong.setup) as session:
            try:
                session.load()
            except wrong.error as error:
                law.check_error(error)
            except (BackendError, msgspec.ValidationError) as error:
                if isinstance(error, msgspec.ValidationError) and wrong.error is BadOptions:
                    return  # the host makes one of it
                raise AssertionError(f"{wrong.what} must raise {wrong.error.__name__}") from error
            else:
                pytest.fail(f"{wrong.what} was loaded")
