"""Who is to answer: a preset that was named, was used last, or is the first that can run."""

from __future__ import annotations

from typing import Any

import pytest
import tomli_w

from backends import paths
from backends.errors import ModelNotFound, Problem
from backends.host import launch
from backends.host.wire import KEEP_ALIVE_S
from presets.catalog import Catalog, find, load_catalog
from tui.chat.target import choose, resolve

ECHO = {"echo": {"source": "server:echo"}}
GONE = {"llama_cpp": {"source": "file:/nowhere/model.gguf"}}


def catalog(**presets: dict[str, dict[str, Any]]) -> Catalog:
    """Return the user's own presets alone: each name with its backends, the first of which is its first choice."""
    folder = paths.private(paths.user_presets())
    for name, backends in presets.items():
        model = {"family": "f", "quantization": "q"}
        table = {"title": name, "backend": next(iter(backends)), "model": model, "backends": backends}
        (folder / f"{name}.toml").write_text(tomli_w.dumps(table))
    found = load_catalog()
    return Catalog(tuple(entry for entry in found.entries if not entry.builtin), found.problems)


def test_the_named_one_comes_before_the_last_one_and_that_before_the_first() -> None:
    presets = catalog(a=ECHO, b=ECHO, c=ECHO)
    assert choose(presets, "b", "c").preset == "b"
    assert choose(presets, None, "c").preset == "c"
    assert choose(presets, None, "gone").preset == "a"
    assert choose(presets, None, None).preset == "a"


def test_what_cannot_run_here_is_passed_over_unless_it_was_named() -> None:
    presets = catalog(a=GONE, b=ECHO)
    assert choose(presets, None, "a").preset == "b"
    with pytest.raises(ModelNotFound):
        choose(presets, "a", None)


def test_a_backend_that_was_asked_for_decides_which_preset_can_run() -> None:
    presets = catalog(a=ECHO, b=GONE | ECHO)
    assert choose(presets, None, "b", "echo").preset == "b"
    presets = catalog(a=GONE, b=GONE | ECHO)
    assert choose(presets, None, None, "echo").preset == "b"


def test_where_nothing_can_run_the_first_reason_is_told() -> None:
    with pytest.raises(Problem, match="There is no preset"):
        choose(Catalog((), ()), None, None)
    with pytest.raises(Problem, match=r"No model is here yet: For example a: file missing"):
        choose(catalog(a=GONE, b=GONE), None, None)


def test_a_preset_that_says_nothing_stays_loaded_as_the_settings_say_or_five_minutes() -> None:
    entry = find(catalog(a=ECHO), "a")
    assert resolve(entry).spec.keep_alive_s == KEEP_ALIVE_S == 300.0
    assert resolve(entry, keep_alive_s=7.0).spec.keep_alive_s == 7.0
    assert launch.key_of(resolve(entry).spec) == launch.key_of(resolve(entry, keep_alive_s=7.0).spec)
