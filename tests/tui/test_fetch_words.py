"""How far fetches are, in the words of a line: what is known, in the room that there is, and never 100 % too early."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from backends.jobs.job import JobSpec, JobView, Progress
from tests.tui.fetches import GB, MB, progress, view
from tui.plans.brief import ROOM
from tui.screens.fetch.words import amount, brief, line_forms, percent
from tui.units import rate_text
from tui.widgets.lines import beside

QUEUED = view(
    progress(stage="queued", done_bytes=0, total_bytes=4_900 * MB, bytes_per_s=None, left_s=None), "8B Q4_K_M"
)


def test_a_fetch_is_told_with_its_size_its_rate_and_the_time_that_is_left() -> None:
    assert line_forms([view()]) == (
        "▼ 14B Q3_K_S + offload 3.1/6.7 GB · 42 MB/s · 1 min 25 s",
        "▼ 14B Q3_K_S + offload 46 % · 42 MB/s · 1 min 25 s",
        "▼ 46 % · 42 MB/s · 1 min 25 s",
        "▼ 46 % · 42 MB/s",
        "▼ 46 %",
    )


def test_of_several_the_sum_is_told() -> None:
    assert line_forms([view(), QUEUED])[0] == "▼ 2 models 3.1/11.6 GB · 42 MB/s · 3 min 22 s"
    assert line_forms([view(), QUEUED])[-1] == "▼ 26 %"


def test_nothing_is_told_where_nothing_is_fetched() -> None:
    assert line_forms([]) == ()


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("queued", "▼ 14B Q3_K_S + offload waits for its turn · 3.1/6.7 GB"),
        ("waiting", "▼ 14B Q3_K_S + offload waits for the server · 3.1/6.7 GB"),
        ("checking", "▼ 14B Q3_K_S + offload checking · 3.1/6.7 GB"),
        ("fetching", "▼ 14B Q3_K_S + offload fetching · 3.1/6.7 GB"),
    ],
)
def test_a_stage_without_a_rate_is_named(stage: str, said: str) -> None:
    assert line_forms([view(progress(stage=stage, bytes_per_s=None, left_s=None))])[0] == said


def test_why_a_fetch_waits_is_said_first() -> None:
    note = "The line broke. The next try is in 8 s."
    waits = view(progress(stage="waiting", note=note, bytes_per_s=None, left_s=None))
    assert line_forms([waits])[0] == "▼ 14B Q3_K_S + offload · The line broke. The next try is in 8 s. · 46 %"
    assert line_forms([waits])[1] == "▼ 14B Q3_K_S + offload waits for the server · 3.1/6.7 GB"


def test_what_is_unknown_is_left_out() -> None:
    told = view(Progress("running", "asking"))
    assert line_forms([told]) == ("▼ 14B Q3_K_S + offload asking the server", "▼ asking the server", "▼")
    assert brief(told) == "asking the server"
    assert percent([view(), told]) == ""


def test_who_was_asked_to_end_says_so() -> None:
    assert line_forms([view(stopping=True)])[0] == "▼ 14B Q3_K_S + offload stopping · 3.1/6.7 GB"
    assert brief(view(stopping=True)) == "stopping · 46 %"


def test_the_sidebar_says_how_far_a_fetch_is_and_where_it_ended() -> None:
    assert brief(view()) == "fetching 46 % · 42 MB/s"
    assert brief(view(progress(bytes_per_s=None))) == "fetching 46 %"
    assert brief(view(progress(state="stopped"))) == "stopped at 46 %"
    assert brief(view(progress(state="failed"))) == "failed at 46 %"
    assert brief(view(Progress("failed"))) == "failed"


def work(kind: str, told: Progress, title: str = "Qwen-32B mixed-4-3") -> JobView:
    """A job that fetches nothing, as it looks from outside."""
    return msgspec.structs.replace(view(told, title), spec=JobSpec(kind, "/models/x.gguf", title))


def test_what_is_made_and_measured_is_told_with_what_is_done() -> None:
    told = progress(stage="quantizing", note="blk.3.ffn_up 12 of 771", left_s=362.0)
    assert line_forms([work("quantize", told)]) == (
        "▸ Quantising Qwen-32B mixed-4-3 · 46 % · about 6 min",
        "▸ Quantising Qwen-32B mixed-4-3 · 46 %",
        "▸ quantising 46 % · about 6 min",
        "▸ quantising 46 %",
        "▸ 46 %",
    )
    assert brief(work("quantize", told)) == "quantising 46 %"
    assert brief(work("quality", progress(stage="measuring", left_s=None))) == "measuring 46 %"
    assert brief(work("quantize", progress(state="stopped"))) == "stopped at 46 %"
    assert line_forms([work("quality", Progress("running", "starting"))])[0] == (
        "▸ Measuring Qwen-32B mixed-4-3 · starting"
    )
    assert line_forms([work("quality", progress(stage="hashing", left_s=None))])[0] == (
        "▸ Measuring Qwen-32B mixed-4-3 · reading the files · 46 %"
    )
    assert brief(work("quality", progress(stage="hashing"))) == "reading the files · 46 %"


def test_a_fetch_stands_before_what_else_goes_on() -> None:
    forms = line_forms([work("quantize", progress(stage="quantizing", left_s=60.0)), view()])
    assert forms[0] == (
        "▼ 14B Q3_K_S + offload 3.1/6.7 GB · 42 MB/s · 1 min 25 s   "
        "▸ Quantising Qwen-32B mixed-4-3 · 46 % · about 1 min"
    )
    assert forms[-1] == "▼ 46 %"
    assert [cell_len(form) for form in forms] == sorted({cell_len(form) for form in forms}, reverse=True)


@pytest.mark.parametrize(
    ("rate", "text"), [(420_000, "420 kB/s"), (4.2e6, "4.2 MB/s"), (42e6, "42 MB/s"), (1.25e9, "1.2 GB/s")]
)
def test_rates_have_the_figures_that_they_deserve(rate: float, text: str) -> None:
    assert rate_text(rate) == text


def test_amounts_have_one_unit() -> None:
    assert (amount(98 * MB, 98 * MB), amount(100 * MB, 6_700 * MB)) == ("98/98 MB", "0.1/6.7 GB")


sizes = st.integers(1, 200 * GB)
stages = st.sampled_from(["starting", "asking", "queued", "waiting", "fetching", "checking", "finishing", "new"])


@given(sizes, st.floats(0, 1), st.one_of(st.none(), st.floats(1, 1e10)), stages)
def test_whatever_is_told_fits_in_the_sidebar_and_shorter_forms_are_shorter(
    total: int, share: float, rate: float | None, stage: str
) -> None:
    done = int(total * share)
    left = (total - done) / rate if rate else None
    one = view(progress(stage=stage, done_bytes=done, total_bytes=total, bytes_per_s=rate, left_s=left))
    assert cell_len(brief(one)) <= ROOM
    assert "100 %" not in brief(one)
    forms = line_forms([one])
    assert "100 %" not in "".join(forms)
    assert [cell_len(form) for form in forms] == sorted({cell_len(form) for form in forms}, reverse=True)


@given(st.text(alphabet="a界 ", max_size=60), st.integers(1, 120))
def test_what_is_done_and_what_is_fetched_never_take_more_than_the_room(doing: str, room: int) -> None:
    line = beside(doing, line_forms([view()]), room)
    assert cell_len(line) <= max(room, cell_len("▼ 46 %"))
    assert "46 %" in line or "GB" in line


def test_what_is_done_stands_at_the_left_and_the_fetch_at_the_right() -> None:
    forms = line_forms([view()])
    assert beside("", forms, 60) == " " * 4 + forms[0]
    assert beside("14B: starting", forms, 44) == "14B: starting  ▼ 46 % · 42 MB/s · 1 min 25 s"
    assert beside("It loads and loads and loads", forms, 20) == "It loads an…  ▼ 46 %"
    assert beside("It loads", (), 20) == "It loads"
