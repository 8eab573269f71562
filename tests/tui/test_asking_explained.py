"""What a chat asks for, explained beside the figures: whose wish it is, what it stands for, what cannot be had."""

from __future__ import annotations

import msgspec

from backends.base import Loaded, Sampling
from backends.host.wire import Status
from tests.tui.chat.conftest import make_target
from tests.tui.moments import nothing
from tui.chat.asking import NOTHING, Asking
from tui.chat.seen import Seen
from tui.screens.figures.asked import asking_figures
from tui.screens.figures.content import View, sections

TITLE = "How this chat asks"


def seen(asking: Asking, **options: object) -> Seen:
    usual = msgspec.structs.replace(make_target(**options), sampling=Sampling(temperature=1.0))
    return msgspec.structs.replace(nothing(), asking=asking, usual=usual)


def test_a_chat_that_asks_as_its_preset_does_has_nothing_to_explain() -> None:
    assert asking_figures(seen(NOTHING)) == []
    assert TITLE not in [section.title for section in sections(View(seen(NOTHING)))]


def test_each_wish_says_what_it_stands_for_and_how_it_is_changed() -> None:
    asking = Asking("Be\nshort. " + "x" * 300, temperature=0.0, seed=0, max_tokens=9, context=8192)
    told = {one.name: one for one in asking_figures(seen(asking, context=4096))}
    assert list(told) == ["system", "temperature", "seed", "max_tokens", "context"]
    assert told["system"].value.startswith("Be")
    assert told["system"].value.endswith("…")
    assert "\n" not in told["system"].value
    assert told["temperature"].value == "0"
    assert told["temperature"].what == "In place of what Echo model says: 1."
    assert told["seed"].what == "In place of what Echo model says: another each time."
    assert (told["context"].value, told["context"].notes) == ("8,192 tokens", ())
    assert {one.source for one in told.values()} == {"this chat: F10 changes it"}
    assert TITLE in [section.title for section in sections(View(seen(asking)))]


def test_what_the_backend_cannot_be_told_is_said() -> None:
    asking = Asking(seed=7, context=8192)
    (context,) = [one for one in asking_figures(seen(asking)) if one.name == "context"]
    assert context.notes == ("echo cannot be told a context: the model has its own.",)
    loaded = Loaded(4096, capabilities=("continue",))
    with_status = msgspec.structs.replace(seen(asking), status=Status("idle", loaded=loaded))
    (seed,) = [one for one in asking_figures(with_status) if one.name == "seed"]
    assert seed.notes == ("The server of this model takes no seed: its answers differ all the same.",)
