"""The table of keys: what is made of it fits, and each key is there once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presets.catalog import Catalog
from tui.keys import AREAS, KEYS, Place, key_line
from tui.screens.chat.choosing import Presets
from tui.screens.chat.palette import commands


@given(st.integers(60, 200))
def test_the_key_line_is_never_wider_than_its_room(width: int) -> None:
    assert len(key_line(width)) <= width


@pytest.mark.parametrize("key", ["F8 plan", "F9 figures", "^f find"])
def test_the_keys_of_the_views_and_the_search_are_there_at_80_columns(key: str) -> None:
    assert key in key_line(78)


def test_the_key_line_has_every_key_but_the_palettes_and_the_thoughts_at_120_columns() -> None:
    line, left_out = key_line(118), {"program.palette", "answer.thought"}
    assert all(f"{key.shown} {key.label}" in line for key in KEYS if key.shown and key.id not in left_out)


@pytest.mark.parametrize("place", AREAS)
def test_where_keys_mean_something_else_the_line_says_so_and_is_never_too_wide(place: Place) -> None:
    for width in range(40, 200):
        assert len(key_line(width, place)) <= width
    assert key_line(78, place).startswith("F1 help  ")
    first = AREAS[place].keys[:3]
    assert all(f"{key.shown} {key.label}" in key_line(78, place) for key in first)


def test_no_key_does_two_things() -> None:
    names = [name for key in KEYS for name in key.keys.split(",")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("title", "action"),
    [
        ("Every figure explained", "figures"),
        ("The plan: what this machine can run, and why", "plan"),
        ("Usage: tokens, energy, money", "usage"),
    ],
)
def test_the_palette_has_the_views(title: str, action: str) -> None:
    ran: list[str] = []
    found = {command.title: command.callback for command in commands(Presets(Catalog((), ())), ran.append, ran.append)}
    found[title]()
    assert ran == [action]
