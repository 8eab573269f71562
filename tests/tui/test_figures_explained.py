"""The view of every figure: what it is, where it comes from, how sure it is; and unknown is never 0."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from backends.base import Loaded
from backends.events import Cost, Io
from backends.hardware.gpu import GpuReading
from backends.host.wire import Status
from tests.tui import moments
from tests.tui.moments import GB, GUESSED, POINTS, SILENT_CARD, TIMINGS, answering, everything, nothing, row
from tests.tui.test_footer import MOMENTS
from tui.chat.bill import Rates, own_cost
from tui.chat.course import Point
from tui.chat.machine import Machine
from tui.chat.seen import FIGURES, Seen
from tui.screens.chat.footer import parts
from tui.screens.figures import told as told_of
from tui.screens.figures.content import View, content, sections
from tui.screens.figures.more import Published, card_figures, cost_figures, course_lines, energy_figures
from tui.screens.figures.told import Surety, Told, footer_figures

PUBLISHED = Published("14B Q3_K_S + offload", 0.0015)
HOT = msgspec.structs.replace(moments.CARD, throttled=("hot", "power limit"), celsius=91.0)


@pytest.fixture(autouse=True)
def _settings_stand_where_they_stand_for_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_of, "shown_path", lambda _path: "~/.config/deepseek-tui/config.toml")


def changed(seen: Seen, **changes: object) -> Seen:
    return msgspec.structs.replace(seen, **changes)


def told(figures: list[Told], name: str) -> Told:
    return next(one for one in figures if one.name == name)


# The footer and the view are one list.


@pytest.mark.parametrize("name", MOMENTS)
def test_every_figure_on_the_footer_has_its_line_in_the_view(name: str) -> None:
    on_the_footer = {figure for part in parts(MOMENTS[name]) for figure in part.figures}
    assert on_the_footer <= set(footer_figures(MOMENTS[name]))


def test_the_view_tells_of_no_figure_that_the_footer_never_shows() -> None:
    ever = {figure for seen in MOMENTS.values() for part in parts(seen) for figure in part.figures}
    assert set(FIGURES) == ever == set(footer_figures(everything()))


@pytest.mark.parametrize("name", MOMENTS)
def test_every_figure_says_what_it_is_where_from_and_how_sure(name: str) -> None:
    for section in sections(View(MOMENTS[name], POINTS, PUBLISHED)):
        for one in section.figures:
            assert one.name
            assert one.value
            assert one.what
            assert one.source
            assert one.surety in get_args(Surety)


def test_a_figure_that_is_unavailable_is_a_dash_or_a_name_and_never_a_number() -> None:
    for one in (*footer_figures(nothing()).values(), *card_figures(nothing()), *cost_figures(nothing(), Published())):
        assert one.surety == "unavailable", one.name
        assert not re.search(r"\d", one.value)


@pytest.mark.parametrize("name", MOMENTS)
@given(width=st.integers(50, 120))
def test_no_line_is_wider_than_the_view(name: str, width: int) -> None:
    text = content(View(MOMENTS[name], POINTS, PUBLISHED), width).plain
    assert max(map(cell_len, text.splitlines())) <= width


# Where figures come from.


def test_memory_that_the_driver_tells_is_measured() -> None:
    ours = footer_figures(everything())["ours"]
    assert (ours.value, ours.surety, ours.source) == ("5.6 GB ours, 1.1 GB others", "measured", "NVML process memory")


def test_memory_by_difference_is_an_estimate_and_says_so() -> None:
    machine = Machine(GpuReading((SILENT_CARD,)), GB)
    ours = footer_figures(changed(everything(), machine=machine))["ours"]
    assert (ours.value[0], ours.surety, ours.source) == ("~", "estimated", "difference to before loading")


def test_memory_of_a_server_is_its_own_count() -> None:
    loaded = Loaded(8192, model_bytes=6 * GB, vram_bytes=4 * GB, place="machine")
    ours = footer_figures(changed(everything(), status=Status("idle", loaded)))["ours"]
    assert ours.source == "the engine's own counter"


def test_memory_that_nobody_tells_apart_says_why() -> None:
    ours = footer_figures(changed(everything(), machine=Machine(GpuReading((SILENT_CARD,)))))["ours"]
    assert (ours.value, ours.surety) == ("–", "unavailable")
    assert "was there before" in ours.source


def test_what_is_wrong_with_the_driver_is_told() -> None:
    assert footer_figures(nothing())["vram"].source == "No graphics card found."


def test_your_tariff_is_told_with_its_price() -> None:
    cost = footer_figures(everything())["cost"]
    assert (cost.surety, cost.source) == ("assumed", "your tariff 0.32 EUR/kWh, and your hardware_price")
    power = footer_figures(everything(Rates(price_per_kwh=0.32, currency="EUR")))["cost"]
    assert (power.surety, power.source) == ("assumed", "your tariff 0.32 EUR/kWh")
    assert power.notes == ("The power supply is assumed to pass on 85%: psu_efficiency in [bill] sets it.",)
    all_set = footer_figures(everything(Rates(price_per_kwh=0.32, currency="EUR", psu_efficiency=0.9)))["cost"]
    assert (all_set.surety, all_set.source) == ("measured", "your tariff 0.32 EUR/kWh")


def test_an_assumed_tariff_says_how_to_set_yours() -> None:
    cost = footer_figures(everything(Rates()))["cost"]
    assert cost.surety == "assumed"
    assert cost.source == "assumed 0.30 USD/kWh: set [bill] price_per_kwh in ~/.config/deepseek-tui/config.toml"


def test_an_answer_from_before_the_tariff_was_set_says_so() -> None:
    old = row(moments.MEASURED, own_cost(moments.MEASURED, TIMINGS, Rates()))
    cost = footer_figures(changed(everything(), last=old))["cost"]
    assert cost.source == "an assumed tariff: none was set at that time"


def test_a_servers_price_is_published() -> None:
    cost = footer_figures(changed(everything(), last=row(None, Cost(0.0031, "USD", "preset"))))["cost"]
    assert (cost.value, cost.surety) == ("$0.003100", "published")
    assert cost.source.startswith("price in the preset")


def test_energy_names_the_source_of_each_device_and_what_is_missing() -> None:
    energy = footer_figures(everything(Rates(), GUESSED))["energy"]
    assert energy.surety == "estimated"
    assert energy.source == "GPU 0 NVIDIA GeForce RTX 3070: NVML energy counter; CPU: CPU time at 65 W"
    assert energy.notes == ("Only root may read the processor's energy counters (RAPL).",)


def test_energy_of_a_model_elsewhere_cannot_be_known_here() -> None:
    status = Status("idle", Loaded(8192, place="elsewhere"))
    energy = footer_figures(changed(everything(), status=status, last=row(None)))["energy"]
    assert (energy.value, energy.surety) == ("–", "unavailable")
    assert "another machine" in energy.source


def test_the_live_speed_and_the_engines_own_are_told_apart() -> None:
    assert "counted here" in footer_figures(answering())["speed"].source
    assert "engine's own" in footer_figures(everything())["speed"].source


# On demand.


def test_a_card_tells_load_power_heat_and_that_nothing_slows_it() -> None:
    figures = card_figures(everything())
    assert [one.value for one in figures[1:]] == ["97%", "187 W of at most 220 W", "71 °C", "nothing"]


def test_a_throttled_card_tells_why_in_plain_words() -> None:
    seen = changed(everything(), machine=Machine(GpuReading((HOT,))))
    assert told(card_figures(seen), "Slowed by").value == "hot; power limit"


def test_a_silent_card_is_not_taken_for_an_idle_one() -> None:
    figures = card_figures(changed(everything(), machine=Machine(GpuReading((SILENT_CARD,)))))
    assert {(one.value, one.surety) for one in figures[1:]} == {("–", "unavailable")}


def test_several_cards_are_numbered() -> None:
    second = msgspec.structs.replace(moments.CARD, index=1)
    figures = card_figures(changed(everything(), machine=Machine(GpuReading((moments.CARD, second)))))
    assert [one.name for one in figures if "Load" in one.name] == ["GPU 0 Load", "GPU 1 Load"]


def test_energy_is_told_by_device_and_phase_with_the_idle_share_apart() -> None:
    card, _, together = energy_figures(everything())
    assert card.what == "loading 66.7 mWh · getting ready 3.47 mWh · prefill 55.6 mWh · decode 0.64 Wh"
    assert card.value == "0.76 Wh · 0.60 Wh beyond the idle draw of 0.17 Wh"
    assert together.value == "0.90 Wh · 0.65 Wh beyond the idle draw of 0.25 Wh"


def test_an_unknown_idle_draw_is_not_0_and_missing_seconds_are_told() -> None:
    _, guess, together = energy_figures(everything(Rates(), GUESSED))
    assert guess.value.endswith("without idle draw")
    assert guess.notes == ("Of 1.5 s nothing is known, and nothing is counted.",)
    assert together.value == "~0.90 Wh · idle draw not known yet"


def test_the_cost_has_its_parts_and_stands_beside_the_published_one() -> None:
    electricity, hardware, published = cost_figures(everything(), PUBLISHED)
    assert (electricity.value, hardware.value) == ("€0.000556", "€0.004915")
    assert "85%" in electricity.what
    assert "40 W" in electricity.what
    assert hardware.source == "your hardware_price over 4 years, answering 10% of the time"
    assert (published.value, published.surety) == ("$0.0015 an answer", "published")
    assert "€0.0054" in published.what


def test_hardware_that_is_left_out_is_off_and_not_0() -> None:
    hardware = told(cost_figures(everything(Rates()), PUBLISHED), "Hardware")
    assert (hardware.value, hardware.source) == ("–", "off: set hardware_price in [bill]")


def test_a_server_that_is_paid_has_no_electricity_of_ours() -> None:
    seen = changed(everything(), last=row(None, Cost(0.0031, "USD", "preset")))
    assert [one.name for one in cost_figures(seen, Published())] == ["Published"]


# The last minutes.


def test_the_last_minutes_show_gaps_and_their_range() -> None:
    vram, speed, cards, answer = course_lines(POINTS, 60)
    assert vram.name == "VRAM"
    assert "·" in vram.picture
    assert len(vram.picture) == 60
    assert vram.span == "6.0 to 6.7 GB in the last 5 min"
    assert speed.span.startswith("20.0 to 24.0 tok/s")
    assert cards.picture.startswith("········")
    assert (cards.span, answer.span) == ("60 to 209 W in the last 5 min", "111 to 239 W in the last 5 min")


def test_the_watts_of_the_cards_and_of_the_answer_are_two_rows_and_each_says_where_it_is_from() -> None:
    text = content(View(everything(), POINTS), 90).plain
    assert re.search(r"Cards .*\n.*\n +From: the driver, whatever the cards work for\.", text)
    assert re.search(r"Answer .*\n.*\n +From: the devices of the answer, as its energy\.", text)
    assert re.search(r"tok/s .*\n.*\n +From: tokens of the last seconds\.", text)


@pytest.mark.parametrize(("seconds", "span"), [(1, "minute"), (60, "minute"), (61, "2 min"), (299, "5 min")])
def test_the_span_is_told_in_whole_minutes_so_that_it_does_not_change_each_second(seconds: int, span: str) -> None:
    points = [Point(second, GB) for second in range(seconds)]
    assert course_lines(points, 60)[0].span == f"1.0 GB in the last {span}"


def test_minutes_of_which_nothing_is_known_have_no_picture_and_no_0() -> None:
    for points in ([Point(1), Point(2)], []):
        assert {(row.picture, row.span) for row in course_lines(points, 60)} == {("", "– nothing known yet")}


def test_a_figure_that_stays_the_same_has_no_range() -> None:
    points = [Point(1, cards_watts=2.04), Point(2, cards_watts=2.01)]
    assert course_lines(points, 60)[2].span == "2.0 W in the last minute"


# What the engine reads and writes.


STREAMING = Io(12_300_000_000, 41_000, 24_576, 24_576, 0)


def io_figures(io: Io | None, **more: float | None) -> list[Told]:
    machine = msgspec.structs.replace(everything().machine, io=io, **more)
    found = footer_figures(answering(machine=machine))
    return [found["ssd"], found["faults"], found["written"]]


def test_what_an_answer_reads_is_told_in_bytes_and_in_faults_and_that_it_writes_nothing_but_our_own() -> None:
    reads, faults, written = io_figures(STREAMING, read_bytes_per_s=2.9e9, faults_per_s=310.0)
    assert reads.value == "2.9 GB/s · 12.3 GB in this answer"
    assert faults.value == "310/s · 41,000 in this answer"
    assert written.value == "0, beside 25 kB of our own"
    assert {one.surety for one in (reads, faults, written)} == {"measured"}
    assert "write_bytes" in written.source


def test_after_its_end_the_sums_stay() -> None:
    reads, faults, _ = io_figures(STREAMING, read_bytes_per_s=None, faults_per_s=None)
    assert (reads.value, faults.value) == ("12.3 GB in this answer", "41,000 in this answer")


def test_what_it_writes_and_what_is_in_swap_are_told_apart() -> None:
    io = Io(0, 0, 40_000_000, 10_000_000, 700_000_000)
    assert io_figures(io)[2].value == "30 MB, beside 10 MB of our own · 700 MB of the process in swap"


def test_where_nobody_counts_there_is_a_dash_and_a_reason() -> None:
    for told_one in (*io_figures(None, read_bytes_per_s=None)[1:], *io_figures(Io(), faults_per_s=None)[1:]):
        assert (told_one.value, told_one.surety) == ("–", "unavailable")
        assert told_one.source
