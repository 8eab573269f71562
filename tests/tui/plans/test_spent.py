"""What answers cost here of late, for a plan's third column."""

from __future__ import annotations

import contextlib
import time

from backends import paths
from backends.events import Done, Energy, Text, Timings, Usage
from backends.host.wire import Record
from tui.chat.answer import fold
from tui.chat.bill import Rates
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.plans.spent import LATELY_S, answer_costs


def answered(preset: str, joules: float, days_ago: float = 0.0) -> None:
    done = Done("stop", Usage(10, 0, 0, 100), Timings(decode_s=5.0), Energy(joules, "measured"))
    answer = fold([Record("a", 0, 1.0, Text("words")), Record("a", 1, 2.0, done)])
    with contextlib.closing(Store(rates=Rates(price_per_kwh=1.0, psu_efficiency=1.0))) as store:
        row = store.begin(new_id(), Asked(preset, "echo", "model"), "question")
        assert store.finish(row.id, answer, time.time() - days_ago * 86_400)


def test_nothing_was_spent_before_anything_was_asked() -> None:
    assert answer_costs() == {}


def test_each_preset_has_the_mean_of_its_answers() -> None:
    for preset, joules in (("8b", 3600.0), ("8b", 7200.0), ("14b", 36_000.0)):
        answered(preset, joules)
    # A kilowatt-hour costs 1, and 3600 J are a thousandth of it.
    assert answer_costs() == {"8b": {"USD": 1_500_000.0}, "14b": {"USD": 10_000_000.0}}


def test_answers_of_long_ago_count_no_more() -> None:
    answered("8b", 36_000.0, days_ago=LATELY_S / 86_400 + 1)
    answered("8b", 3600.0, days_ago=LATELY_S / 86_400 - 1)
    assert answer_costs() == {"8b": {"USD": 1_000_000.0}}


def test_a_database_that_cannot_be_read_has_nothing_to_say() -> None:
    paths.private(paths.data())
    (paths.data() / "chats.sqlite3").write_bytes(b"this is no database, whatever its name says " * 40)
    assert answer_costs() == {}
