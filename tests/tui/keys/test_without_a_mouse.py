"""Nothing needs a mouse: whatever can be clicked has a key that does it."""

from __future__ import annotations

import inspect

from textual.widgets import Button, Input, OptionList, TextArea

from tests.tui.keys.test_bindings import ours
from tui.keys.table import AREAS
from tui.screens.asking import AskingScreen
from tui.screens.preset import PresetScreen
from tui.widgets.choice import Choice

_BY_TEXTUAL = (OptionList, Input, TextArea)
"""Those that hear of a click in Textual; each is reached by Tab or has focus from the start."""


def test_whatever_hears_of_a_click_can_have_focus_and_has_keys() -> None:
    clicked = {one for one in ours() for name in vars(one) if name.startswith(("on_click", "_on_click", "on_mouse"))}
    clicked |= {one for one in ours() if issubclass(one, _BY_TEXTUAL)}
    assert Choice in clicked
    for one in clicked:
        assert getattr(one, "can_focus", False), one
        assert one.BINDINGS, one


def test_every_button_has_a_key_beside_it() -> None:
    with_buttons = [one for one in ours() if "Button(" in inspect.getsource(one)]
    assert set(with_buttons) == {PresetScreen, AskingScreen}
    # The button is pressed by what the key does.
    for one in (PresetScreen, AskingScreen):
        heard = [event for event, _selectors in vars(one.action_save)["_textual_on"]]
        assert heard == [Button.Pressed]
    for place in ("edit", "asking"):
        assert "save" in {key.action for key in AREAS[place].keys}


def test_no_text_is_a_link() -> None:
    assert not [one for one in ours() if "@click" in inspect.getsource(one)]


def test_every_place_has_keys() -> None:
    assert all(area.keys for area in AREAS.values())
