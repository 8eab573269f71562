# ruff: noqa: S101 - a promise is an assertion
"""What is promised before anything is loaded: the class, its options, its `check`, its import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from backends.base import Backend
from backends.conformance import law
from backends.conformance.setting import Setting

# What the screen must never have to import, whoever wants it: it reads the options of every backend.
_HEAVY = ("httpx", "jinja2", "keyring", "numpy", "pydantic", "requests", "torch")
_IMPORT_S = 30.0
_LOOK = """
import importlib, importlib.util, sys
found = importlib.util.find_spec(sys.argv[1])
if found is None: sys.exit(77)
importlib.import_module(sys.argv[1])
sys.stderr.write(" ".join(name for name in sys.argv[2:] if name in sys.modules))
"""
_NOT_BY_NAME = 77


class OutsidePromises(Setting):
    """Promises of the class itself."""

    def test_it_has_a_name_a_title_and_can_be_made_without_arguments(self) -> None:
        assert issubclass(self.backend, Backend)
        assert self.backend.name == self.backend.name.strip().lower() != "", "a name is one lower-case word"
        assert self.backend.name.replace("_", "a").isalnum(), "a name is one word, with letters, digits and _"
        assert self.backend.title.strip(), "a title is what the screen shows"
        assert len(self.backend.title.splitlines()) == 1, "a title is one line"
        self.backend()

    def test_its_options_are_a_frozen_struct_that_refuses_unknown_keys(self) -> None:
        kind = self.backend.Options
        assert issubclass(kind, msgspec.Struct)
        assert kind.__struct_config__.frozen, "options are frozen: nobody changes them under a loaded model"
        with pytest.raises(msgspec.ValidationError, match="no_such_option"):
            msgspec.convert({**self.plain().options, "no_such_option": 1}, kind)

    def test_options_have_defaults_or_the_missing_key_is_named(self) -> None:
        kind = self.backend.Options
        required = [field.encode_name for field in msgspec.structs.fields(kind) if field.required]
        if required:
            with pytest.raises(msgspec.ValidationError, match=required[0]):
                msgspec.convert({}, kind)
        else:
            assert msgspec.convert({}, kind) == kind()

    def test_options_are_the_same_after_they_were_sent_and_can_be_described(self) -> None:
        options = self._options()
        sent = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(options)))
        assert msgspec.convert(sent, self.backend.Options) == options
        assert msgspec.json.schema(self.backend.Options)

    def test_check_says_within_its_bound_whether_it_can_work_here(self) -> None:
        for options in (None, self._options()):
            started = time.monotonic()
            answer = self.backend.check(options)
            elapsed = time.monotonic() - started
            law.check_availability(answer)
            assert answer.ready, f"these tests need a backend that is ready: {answer.detail} {answer.hint}"
            assert elapsed <= self.check_bound_s, f"check took {elapsed:.1f} s"

    def test_check_never_raises_whatever_the_options_name(self) -> None:
        for failing in self.broken():
            try:
                options = msgspec.convert(dict(failing.setup.options), self.backend.Options)
            except msgspec.ValidationError:
                continue  # a preset with them is refused before anybody asks
            started = time.monotonic()
            law.check_availability(self.backend.check(options))
            elapsed = time.monotonic() - started
            assert elapsed <= self.check_bound_s, f"check took {elapsed:.1f} s with {failing.what}"

    def test_importing_it_imports_no_engine_and_prints_nothing(self) -> None:
        modules = sorted({*_HEAVY, *self.engine_modules})
        run = subprocess.run(
            [sys.executable, "-c", _LOOK, self.backend.__module__, *modules],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            text=True,
            timeout=_IMPORT_S,
            check=False,
        )
        if run.returncode == _NOT_BY_NAME:
            pytest.skip(f"{self.backend.__module__} cannot be imported by its name")
        assert run.returncode == 0, run.stderr
        assert not run.stdout, f"importing it prints: {run.stdout!r:.200}"
        assert not run.stderr, f"importing it prints or imports what belongs into its methods: {run.stderr}"

    def _options(self) -> Any:
        return msgspec.convert(dict(self.plain().options), self.backend.Options)
