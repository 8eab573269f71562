"""The footer: most important first, never wider than its room, and ~ before what is not measured."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from backends.base import Loaded
from backends.events import Cost, Io, Metered
from backends.hardware.gpu import GpuReading
from backends.host.wire import Status
from tests.tui import moments
from tests.tui.moments import GB, GUESSED, LOADED, MEASURED, SILENT_CARD, answering, everything, growing, nothing, row
from tui.chat.answer import Answer
from tui.chat.bill import Rates
from tui.chat.machine import Machine
from tui.chat.seen import Seen
from tui.chat.tally import Tally
from tui.screens.chat.footer import footer_line, joined, parts
from tui.screens.figures.words import two_shades

WIDE = 200


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answer, "_now", lambda answer: answer.last_s)


def changed(seen: Seen, **changes: object) -> Seen:
    return msgspec.structs.replace(seen, **changes)


def with_card(gpu: object, before: int | None = None, **changes: object) -> Seen:
    return changed(everything(), machine=Machine(GpuReading((gpu,)), before), **changes)  # type: ignore[arg-type]


MOMENTS = {
    "everything": everything(),
    "estimated": everything(Rates(), GUESSED),
    "nothing": nothing(),
    "answering": answering(),
    "thinking": answering(answer=growing(thinking=True)),
    "in the messages": changed(everything(), in_messages=True),
    "streaming": answering(
        machine=Machine(None, None, 3 * GB, 2.9e9, 310.0, Io(9 * GB, 4000, 4096, 4096, 0)),
    ),
    "writing": answering(machine=Machine(None, None, 3 * GB, 2.9e9, 310.0, Io(9 * GB, 4000, 9 * GB, 4096, 0))),
    "unsaved": answering(unsaved="No space left on device"),
    "hostile": changed(everything(), target=msgspec.structs.replace(moments.TARGET, title="模\u202e型 \x1b[31m" * 5)),
}


def test_the_whole_footer_where_there_is_room() -> None:
    assert footer_line(everything(), WIDE) == (
        "14B Q3_K_S + offload · llama.cpp · 48/48 layers on the card │ VRAM ▕██████▒ ▏ 5.6+1.1/8.0 GB │ 23.6 tok/s"
        " │ context 2.0k/8k │ ~€0.0055 · 0.90 Wh │ saved │ RAM 2.9 GB │ SSD 120 MB/s"
    )


@pytest.mark.parametrize("name", MOMENTS)
@given(width=st.integers(0, 220))
def test_the_footer_is_never_wider_than_its_room(name: str, width: int) -> None:
    assert cell_len(footer_line(MOMENTS[name], width)) <= width


@pytest.mark.parametrize("name", MOMENTS)
@given(width=st.integers(20, 220))
def test_a_part_that_is_shown_has_not_pushed_out_a_shorter_one_before_it(name: str, width: int) -> None:
    found = parts(MOMENTS[name])
    shown = footer_line(MOMENTS[name], width).split(" │ ")
    places = [place for place, part in enumerate(found) if any(text in part.forms for text in shown)]
    for place in places:
        for before in set(range(1, place)) - set(places):
            assert cell_len(found[before].forms[-1]) > cell_len(found[place].forms[-1])


@given(width=st.integers(30, 220))
def test_the_model_is_always_there(width: int) -> None:
    assert footer_line(everything(), width).startswith("14B Q3_K_S + offload")


@given(width=st.integers(1, 220))
def test_that_something_is_not_saved_comes_before_all_else(width: int) -> None:
    assert footer_line(MOMENTS["unsaved"], width).startswith("✗ not saved: No space"[: width - 1])


def test_a_wider_window_never_shows_fewer_parts() -> None:
    counted = [len(footer_line(everything(), width).split(" │ ")) for width in range(30, 220)]
    assert counted == sorted(counted)


def test_at_80_columns_the_model_the_card_the_speed_the_context_and_the_cost_are_kept() -> None:
    assert footer_line(everything(Rates(price_per_kwh=0.32, currency="EUR", psu_efficiency=0.85)), 78) == (
        "14B Q3_K_S + offload · 48/48 │ VRAM 5.6+1.1/8.0 │ 23.6 t/s │ 2.0k/8k │ €0.0003"
    )


def test_no_parts_are_no_text() -> None:
    assert joined([], 80) == ""


# Memory of the cards.


def test_ours_is_what_the_driver_tells() -> None:
    assert "VRAM 5.6+1.1/8.0" in footer_line(everything(), 78)


def test_what_a_server_holds_is_its_own_word_because_the_driver_counts_another_process() -> None:
    loaded = Loaded(8192, model_bytes=6 * GB, vram_bytes=4 * GB, place="machine")
    assert "VRAM 4.0+2.7/8.0" in footer_line(changed(everything(), status=Status("idle", loaded)), 78)


def test_where_the_driver_is_silent_the_difference_to_before_is_marked() -> None:
    assert "VRAM ~5.7+1.0/8.0" in footer_line(with_card(SILENT_CARD, GB), 78)


def test_where_nobody_tells_whose_it_is_the_memory_is_not_split() -> None:
    assert "VRAM 6.7/8.0" in footer_line(with_card(SILENT_CARD), 78)


def test_more_memory_before_than_now_is_no_difference() -> None:
    assert "VRAM 6.7/8.0" in footer_line(with_card(SILENT_CARD, 7 * GB), 78)


@pytest.mark.parametrize("card", [moments.CARD, SILENT_CARD])
def test_without_a_model_nothing_is_called_ours_or_others(card: object) -> None:
    assert "VRAM 6.7/8.0" in footer_line(with_card(card, GB, status=None), 78)


def test_without_a_card_there_is_a_dash() -> None:
    assert "VRAM –" in footer_line(nothing(), 78)


def test_two_cards_are_added_up() -> None:
    seen = changed(everything(), machine=Machine(GpuReading((moments.CARD, moments.CARD))))
    assert "VRAM 11.2+2.2/16.0" in footer_line(seen, 90)


@pytest.mark.parametrize(
    ("ours", "used", "bar"),
    [(0, 0, "        "), (4, 4, "████    "), (4, 6, "████▒▒  "), (None, 6, "▒▒▒▒▒▒  "), (8, 8, "████████")],
)
def test_the_bar_has_two_shades(ours: int | None, used: int, bar: str) -> None:
    assert two_shades(ours, used, 8) == bar


@given(st.integers(0, 80 * GB), st.integers(0, 80 * GB), st.integers(1, 80 * GB))
def test_the_bar_always_has_its_width_and_hides_nobody(ours: int, others: int, total: int) -> None:
    ours, used = min(ours, total), min(min(ours, total) + others, total)
    bar = two_shades(ours, used, total)
    assert len(bar) == 8
    assert ("█" in bar) or ours <= total / 100 or bar.count("▒")
    assert ("▒" in bar) or used - ours <= total / 100


# Speed and context.


def test_the_speed_is_live_while_the_model_thinks() -> None:
    assert "20.0 tok/s" in footer_line(answering(answer=growing(thinking=True)), WIDE)


def test_a_finished_answer_has_the_engines_own_speed() -> None:
    assert "23.6 tok/s" in footer_line(everything(), WIDE)


def test_an_answer_that_has_not_begun_has_no_speed_of_the_one_before() -> None:
    assert "– tok/s" in footer_line(answering(answer=Answer()), WIDE)


# Money and energy.


def cost_of(seen: Seen) -> str:
    part = next(part for part in parts(seen) if {"cost", "chat"} & set(part.figures))
    return part.forms[0]


def test_the_cost_grows_with_the_energy_while_an_answer_runs() -> None:
    less = Metered(msgspec.structs.replace(MEASURED, joules=360.0), 200.0)
    seen = answering(answer=growing(metered=less), rates=Rates(price_per_kwh=0.30, psu_efficiency=0.85))
    assert cost_of(seen) == "<$0.0001 · 0.10 Wh"
    more = Metered(msgspec.structs.replace(MEASURED, joules=3600.0), 200.0)
    seen = answering(answer=growing(metered=more), rates=Rates(price_per_kwh=0.30, psu_efficiency=0.85))
    assert cost_of(seen) == "$0.0004 · 1.00 Wh"


def test_before_the_first_word_on_energy_the_cost_is_unknown_and_not_the_last_answers() -> None:
    assert cost_of(answering(answer=growing())) == "cost –"


def test_an_assumed_tariff_marks_the_money_but_not_the_energy() -> None:
    assert cost_of(everything(Rates())).startswith("~$")
    assert cost_of(everything(Rates())).endswith("· 0.90 Wh")


def test_an_estimate_marks_both() -> None:
    money, energy = cost_of(everything(moments.TARIFF, GUESSED)).split(" · ")
    assert (money[0], energy[0]) == ("~", "~")


def test_a_remote_answer_shows_its_price_alone() -> None:
    assert cost_of(changed(everything(), last=row(None, Cost(0.0031, "USD", "preset")))) == "$0.0031"


def test_a_remote_answer_on_its_way_shows_what_its_tokens_cost_so_far() -> None:
    spec = msgspec.structs.replace(moments.TARGET.spec, options={"price": moments.PRICE})
    target = msgspec.structs.replace(moments.TARGET, spec=spec)
    assert cost_of(answering(answer=growing(), target=target)) == "~$0.0003"


def test_the_price_of_another_preset_is_not_taken_for_that_of_the_answer() -> None:
    spec = msgspec.structs.replace(moments.TARGET.spec, options={"price": moments.PRICE})
    target = msgspec.structs.replace(moments.TARGET, preset="another", spec=spec)
    assert cost_of(answering(answer=growing(), target=target)) == "cost –"


def test_what_nobody_knows_is_a_dash() -> None:
    assert cost_of(nothing()) == "cost –"
    assert cost_of(changed(everything(), last=row(None))) == "cost –"


@pytest.mark.parametrize(
    ("currency", "sign"), [("USD", "$"), ("EUR", "€"), ("GBP", "£"), ("CNY", "¥"), ("JPY", "¥"), ("CHF", "CHF ")]
)
def test_currencies_have_their_signs(currency: str, sign: str) -> None:
    assert cost_of(changed(everything(), last=row(None, Cost(0.0031, currency, "preset")))) == f"{sign}0.0031"


def test_with_focus_on_the_messages_the_cost_is_that_of_the_chat() -> None:
    assert cost_of(changed(everything(), in_messages=True)) == "chat €0.012 · 31.0 Wh"


def test_a_chat_of_which_a_part_is_unknown_took_at_least_its_sum() -> None:
    tally = Tally(9, {"EUR": 12_000_000, "USD": 4_000_000}, 111_600_000_000, 2, 3, estimated=True)
    assert cost_of(changed(everything(), in_messages=True, chat=tally)) == "chat ≥~€0.012 + $0.0040 · ≥~31.0 Wh"


def test_a_chat_without_receipts_has_a_dash() -> None:
    assert cost_of(changed(everything(), in_messages=True, chat=Tally())) == "chat –"


# The engine's process.


def test_few_reads_from_disk_are_not_worth_a_place() -> None:
    quiet = msgspec.structs.replace(everything().machine, read_bytes_per_s=500_000.0)
    assert "SSD" not in footer_line(changed(everything(), machine=quiet), WIDE)


def test_many_reads_from_disk_are_told() -> None:
    busy = msgspec.structs.replace(everything().machine, read_bytes_per_s=2_100_000_000.0)
    assert "SSD 2.1 GB/s" in footer_line(changed(everything(), machine=busy), WIDE)


def streaming(written: int | None = 4096, own: int = 4096, faults: float | None = 310.0, reads: float = 2.9e9) -> Seen:
    """Return a moment in an answer of a model that streams from the disk."""
    io = Io(9 * GB, 4000, written, own, 0)
    machine = msgspec.structs.replace(everything().machine, read_bytes_per_s=reads, faults_per_s=faults, io=io)
    return answering(machine=machine)


def test_a_model_that_streams_tells_its_reads_its_faults_and_that_it_writes_nothing() -> None:
    assert footer_line(streaming(), WIDE).endswith(" │ SSD 2.9 GB/s · 310 faults/s · 0 written")
    assert footer_line(streaming(written=None), WIDE).endswith(" │ SSD 2.9 GB/s · 310 faults/s")
    assert footer_line(streaming(faults=None), WIDE).endswith(" │ SSD 2.9 GB/s · 0 written")


def test_what_a_model_writes_that_is_no_file_of_ours_comes_before_all_else() -> None:
    writes = streaming(written=12_004_096)
    assert footer_line(writes, WIDE).startswith("! 12 MB written │ 14B Q3_K_S")
    assert "0 written" not in footer_line(writes, WIDE)
    assert footer_line(streaming(written=12_288, reads=0.0), 30).startswith("! 8 kB written")
    assert footer_line(writes, 14) == "! 12 MB writt…"


def test_what_is_read_has_its_place_once_all_else_has_its_own() -> None:
    shown = {width: footer_line(streaming(), width) for width in range(20, WIDE)}
    assert all("SSD" not in line for width, line in shown.items() if "saving" not in line)
    first = next(width for width, line in shown.items() if "SSD" in line)
    assert "0 written" not in shown[first]
    assert all("SSD" in line for width, line in shown.items() if width >= first)


def test_of_a_model_that_is_to_stream_it_is_told_in_80_columns() -> None:
    loaded = msgspec.structs.replace(LOADED, layers=64, gpu_layers=20, memory_read_bytes=9 * GB, streamed_bytes=GB)
    target = msgspec.structs.replace(moments.TARGET, title="32B mixed + SSD")
    seen = changed(streaming(), status=Status("decode", loaded), target=target)
    assert footer_line(seen, 80) == "32B mixed + SSD · 20/64 │ VRAM 5.6+1.1/8.0 │ 20.0 tok/s │ 961/8k │ SSD 2.9 GB/s"
    assert "SSD 2.9 GB/s · 0 written" in footer_line(seen, 120)
    assert "SSD 2.9 GB/s · 310 faults/s · 0 written" in footer_line(seen, 132)


def test_a_model_on_the_processor_says_so() -> None:
    cpu = msgspec.structs.replace(LOADED, gpu_layers=0)
    assert "· CPU │" in footer_line(changed(everything(), status=Status("idle", cpu)), WIDE)


def test_energy_of_which_a_part_is_missing_is_at_least_so_much_and_so_is_its_cost() -> None:
    part = msgspec.structs.replace(MEASURED, incomplete=True)
    assert cost_of(everything(Rates(price_per_kwh=0.32, psu_efficiency=0.85), part)) == "≥$0.0003 · ≥0.90 Wh"
