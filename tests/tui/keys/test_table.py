"""The table of keys: each key is there once, and what is made of it fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presets.catalog import Catalog
from tui.commands.table import cells
from tui.keys import key_line
from tui.keys.key import Place
from tui.keys.table import AREAS, KEYS
from tui.keys.words import hint
from tui.screens.chat.choosing import Presets
from tui.screens.chat.palette import commands

HINTED: list[Place] = [place for place, area in AREAS.items() if area.hints]


@given(st.integers(30, 200))
def test_the_key_line_is_never_wider_than_its_room(width: int) -> None:
    assert cells(key_line(width)) <= width


@pytest.mark.parametrize("key", ["F8 plan", "F9 figures", "^f find"])
def test_the_keys_of_the_views_and_the_search_are_there_at_80_columns(key: str) -> None:
    assert key in key_line(78)


def test_the_line_is_still_of_use_at_40_columns() -> None:
    assert key_line(38) == "F1 help  ^q quit  F2-7 preset"


@pytest.mark.parametrize("place", HINTED)
def test_where_keys_mean_something_else_the_line_says_so_and_is_never_too_wide(place: Place) -> None:
    for width in range(30, 200):
        assert cells(key_line(width, place)) <= width
    assert key_line(78, place).startswith("F1 help  ")
    assert all(hint(each) in key_line(78, place) for each in AREAS[place].hints[:3])


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


def test_every_id_begins_with_its_place_or_with_what_it_is_about() -> None:
    for place, area in AREAS.items():
        for key in area.keys:
            assert key.id.count(".") == 1
            assert place == "everywhere" or key.id.startswith(f"{place}.")
    assert len(KEYS) == sum(len(area.keys) for area in AREAS.values())
