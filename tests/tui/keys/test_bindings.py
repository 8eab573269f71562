"""Every binding of ours is in the table, and everything of the table is bound and told."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from rich.cells import cell_len
from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.widgets import Input

import tui.screens
import tui.widgets
from tui.app import DeepseekApp
from tui.keys.table import AREAS, KEYS
from tui.keys.words import every
from tui.screens.help import help_text
from tui.widgets import composer


def ours() -> Iterator[type[DOMNode]]:
    """Yield every screen and widget of ours."""
    yield DeepseekApp
    for package in (tui.screens, tui.widgets):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for _name, one in inspect.getmembers(module, inspect.isclass):
                if issubclass(one, DOMNode | App) and one.__module__ == module.__name__:
                    yield one


def test_every_binding_of_a_screen_or_widget_is_in_the_table() -> None:
    bound: set[str] = set()
    of_text = {binding.action for binding in Input.BINDINGS if isinstance(binding, Binding)}
    for one in ours():
        for binding in one.__dict__.get("BINDINGS", []):
            assert isinstance(binding, Binding), one
            if issubclass(one, Input) and binding.id is None:
                assert binding.action in of_text
                continue
            assert binding.id in KEYS, (one, binding)
            assert binding.action == KEYS[binding.id].action
            bound.add(binding.id)
    assert bound == {key.id for key in KEYS.values() if key.action}


def test_the_composer_looks_for_those_of_its_keys_that_are_no_bindings() -> None:
    looks = inspect.getsource(composer)
    for key in AREAS["composer"].keys:
        assert key.action or f'pressed("{key.id}"' in looks
    assert all(key.action for key in KEYS.values() if not key.id.startswith("composer."))


def test_the_help_tells_every_key_and_its_id() -> None:
    does, ids = help_text(200).plain, help_text(200, ids=True).plain
    for name, key in KEYS.items():
        if key.keys:
            assert every(name) in ids
            assert f" {name}\n" in ids
            assert key.help in does


def test_the_help_fits_into_any_width() -> None:
    for width in (30, 34, 50, 72):
        for ids in (False, True):
            assert max(cell_len(line) for line in help_text(width, ids=ids).plain.splitlines()) <= width


def test_the_document_lists_every_id_with_its_keys() -> None:
    rows = [
        f"| `{key.id}` | {every(key.id).replace('|', chr(92) + '|')} | {key.help} |"
        for area in AREAS.values()
        for key in area.keys
    ]
    text = (Path(__file__).parents[3] / "docs" / "keys.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| `")] == rows
