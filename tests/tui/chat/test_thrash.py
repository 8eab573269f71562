"""Memory that is too small after all, told from what an answer's process reads, and from what swaps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Loaded
from backends.events import Done, Io, Metered, Text
from backends.hardware.memory_holders import MemoryHolder, memory_holders
from backends.host.wire import Record
from tui.chat import thrash
from tui.chat.answer import Answer, Moved
from tui.chat.thrash import LEAST_TOKENS, Pressure, Short, Strain, Watch, machine_swaps, reading_again, swapping, words

GB = 1_000_000_000
PART = 7 * GB
"""What a token reads out of main memory."""
FITS = Loaded(8192, memory_read_bytes=PART, streamed_bytes=0)
STREAMS = Loaded(8192, memory_read_bytes=PART, streamed_bytes=2 * GB)


def course(*reads: float, tokens: int = 1, every_s: float = 1.0, before: int = 1, swapped: Sequence[int] = ()) -> Any:
    """Return what was moved: of each stretch of `tokens`, GB read for each token."""
    moved, total = [Moved(0.0, before, Io(0, 0, 0, 0, 0))], 0.0
    for number, read in enumerate(reads, 1):
        total += read * GB * tokens
        in_swap = swapped[number - 1] if swapped else 0
        moved.append(Moved(number * every_s, before + number * tokens, Io(round(total), 0, 0, 0, in_swap)))
    return moved


SERIES = {
    "it fits and reads nothing": (course(*[0.0] * 9), FITS, None),
    "it reads all of it at each token": (course(*[6.1] * 6, every_s=2.5), FITS, Strain("reads", 6_100_000_000, 0, 0.4)),
    "a quarter of it, at each token": (course(*[1.75] * 6), FITS, Strain("reads", 1_750_000_000, 0, 1.0)),
    "a tenth is no word worth": (course(*[0.7] * 9), FITS, None),
    "what was dropped while nobody asked is read once": (course(7.0, 0, 0, 0, 0, 0), FITS, None),
    "one burst among many tokens": (course(0, 0, 0, 0, 7.0, 0, 0, 0), FITS, None),
    "four tokens are too few": (course(*[6.1] * 4), FITS, None),
    "many tokens a second": (course(3.0, 3.0, tokens=20), FITS, Strain("reads", 3 * GB, 0, 20.0)),
    "it streams as it was planned to": (course(*[2.3] * 9), STREAMS, None),
    "it streams far more than was planned": (course(*[6.0] * 6), STREAMS, Strain("reads", 6 * GB, 2 * GB, 1.0)),
    "nobody knows what it should read": (course(*[6.1] * 9), Loaded(8192), None),
    "all is on the card": (course(*[6.1] * 9), Loaded(8192, memory_read_bytes=0, streamed_bytes=0), None),
}


@pytest.mark.parametrize("name", SERIES)
def test_reading_again_is_seen_where_it_is_and_nowhere_else(name: str) -> None:
    moved, loaded, expected = SERIES[name]
    assert reading_again(moved, loaded) == expected


def test_what_the_prompt_made_it_read_is_no_token() -> None:
    moved = [Moved(float(second), 0, Io(second * 7 * GB)) for second in range(9)]
    assert reading_again(moved, FITS) is None


def test_seconds_without_a_token_belong_to_the_next_one() -> None:
    moved = course(*[6.1] * 6)
    between = [Moved(one.at_s + 0.5, one.tokens, Io((one.io.read_bytes or 0) + 3 * GB)) for one in moved]
    both = sorted([*moved, *between], key=lambda one: one.at_s)
    found = reading_again(both, FITS)
    assert found is not None
    assert 5 * GB < found.bytes_per_token < 7 * GB


def test_a_kernel_that_counts_nothing_tells_nothing() -> None:
    assert reading_again([Moved(float(second), second, Io()) for second in range(1, 9)], FITS) is None


@given(reads=st.lists(st.floats(0, 9), max_size=20), tokens=st.integers(1, 9))
def test_it_is_never_said_of_a_model_that_reads_as_planned(reads: list[float], tokens: int) -> None:
    found = reading_again(course(*reads, tokens=tokens), FITS)
    if found is not None:
        assert found.bytes_per_token > thrash.READ_AGAIN * PART
        assert len(reads) * tokens >= LEAST_TOKENS
    assert reading_again(course(*[min(read, 1.3) for read in reads], tokens=tokens), FITS) is None


def test_a_process_that_grows_in_swap_is_being_swapped_out() -> None:
    mib = 1024**2
    assert swapping(course(0, 0, 0, swapped=(0, 0, 0))) is None
    assert swapping(course(0, 0, 0, swapped=(0, 8 * mib, 16 * mib))) is None
    assert swapping(course(0, 0, 0, swapped=(0, 30 * mib, 90 * mib))) == Strain("swap", swapped_bytes=90 * mib)
    shrinks = course(0, 0, 0, swapped=(90 * mib, 60 * mib, 30 * mib))[1:]
    assert swapping(shrinks) is None


def pressures(*out: float, stalled: float | None = 0.5) -> list[Pressure]:
    """Return looks a second apart, between which so many MB were swapped out."""
    found, total = [Pressure(0.0, 0, stalled)], 0.0
    for second, size in enumerate(out, 1):
        total += size * 1e6
        found.append(Pressure(float(second), round(total), stalled))
    return found


def test_of_a_server_the_whole_machine_is_looked_at() -> None:
    assert machine_swaps(pressures(40, 40, 40)) == Strain("machine", swapped_bytes=120_000_000)
    assert machine_swaps(pressures(40, 40, 40, stalled=None)) is not None
    assert machine_swaps(pressures(40, 40, 40, stalled=0.02)) is None
    assert machine_swaps(pressures(40, 0, 40)) is None
    assert machine_swaps(pressures(4, 4, 4)) is None
    assert machine_swaps(pressures(400)) is None
    assert machine_swaps([Pressure(float(second), None, 0.5) for second in range(9)]) is None


def told(loaded: Loaded, course: Sequence[Moved], watch: Watch) -> list[Strain]:
    """Return all that is said of an answer that goes so."""
    answer, seq, found, tokens = Answer(), 0, [], 0
    for one in course:
        for event in (Text("x", one.tokens - tokens), Metered(None, io=one.io)):
            answer.take(Record("a", seq, one.at_s, event))
            seq += 1
        tokens = one.tokens
        found.append(watch.look(answer, loaded))
    answer.take(Record("a", seq, 999.0, Done("stop")))
    found.append(watch.look(answer, loaded))
    return [strain for strain in found if strain is not None]


def test_it_is_said_once_an_answer() -> None:
    assert [one.kind for one in told(FITS, course(*[6.1] * 40), Watch())] == ["reads"]


def test_a_disk_that_takes_a_minute_and_a_half_for_a_token_is_told_of_too() -> None:
    each = 90
    slow = [Moved(float(second), 1 + second // each, Io(second * PART // each)) for second in range(8 * each)]
    (strain,) = told(FITS, slow, Watch())
    assert strain.bytes_per_token == pytest.approx(PART, rel=0.02)
    assert strain.tokens_per_second == pytest.approx(1 / each, rel=0.02)


def test_nothing_is_said_of_a_model_on_another_machine() -> None:
    elsewhere = Loaded(8192, memory_read_bytes=PART, place="elsewhere")
    assert told(elsewhere, course(*[6.1] * 9), Watch()) == []


def test_of_a_model_in_a_server_here_only_the_machine_counts() -> None:
    served = Loaded(8192, memory_read_bytes=PART, place="machine")
    looks = iter(pressures(*[40] * 20))
    assert [one.kind for one in told(served, course(*[6.1] * 9), Watch(lambda: next(looks)))] == ["machine"]


def test_the_machine_is_looked_at_once_a_second_however_fast_the_tokens_come() -> None:
    looks: list[Pressure] = []

    def look() -> Pressure:
        looks.append(Pressure(float(len(looks)), 0, 0.0))
        return looks[-1]

    told(Loaded(8192, place="machine"), course(*[0.0] * 100, every_s=0.05), Watch(look))
    assert 5 <= len(looks) <= 7


def test_the_sentence_has_what_happens_how_slow_it_is_and_who_holds_the_memory() -> None:
    strain = Strain("reads", 6_100_000_000, 0, 0.4)
    holders = [MemoryHolder("firefox", 4_200_000_000, 12), MemoryHolder("code", 1_100_000_000, 9)]
    small = [MemoryHolder("bash", 4_000_000, 1)]
    assert words(strain, Short(None, (*holders, *small))) == (
        "Main memory no longer holds the model: each token reads 6.1 GB from the disk, 0.4 tokens/s. "
        "firefox holds 4.2 GB, code 1.1 GB."
    )
    assert words(strain, Short(None, tuple(small))).endswith("0.4 tokens/s.")
    assert words(strain, Short(8 * GB)).endswith("Its control group lets it have 8.0 GB of main memory in all.")
    assert "0.011 tokens/s" in words(Strain("reads", 6 * GB, 0, 0.0111))
    assert "instead of 2.0 GB" in words(Strain("reads", 6 * GB, 2 * GB, 0.4))
    assert "it writes to the disk" in words(Strain("swap", swapped_bytes=GB))
    assert "it writes to the disk" in words(Strain("machine", swapped_bytes=GB))


def process(root: Path, pid: int, resident: int, name: str, exe: str = "") -> None:
    folder = root / f"proc/{pid}"
    folder.mkdir(parents=True)
    (folder / "statm").write_text(f"{resident * 2} {resident} 0 1 0 1 0\n")
    (folder / "comm").write_text(f"{name}\n")
    if exe:
        (folder / "exe").symlink_to(exe)


def test_a_browser_of_many_processes_is_one_program(tmp_path: Path) -> None:
    for pid in range(10, 14):
        process(tmp_path, pid, 1000, "Isolated Web Co", "/usr/lib/firefox/firefox")
    process(tmp_path, 20, 3000, "another user's")
    process(tmp_path, 21, 9000, "our host", "/usr/bin/python3.11")
    process(tmp_path, 22, 0, "kthread")
    (tmp_path / "proc/meminfo").write_text("")
    found = memory_holders({21}, tmp_path)
    assert [(one.name, one.processes) for one in found] == [("firefox", 4), ("another user's", 1)]
    assert found[0].held_bytes == 4 * found[1].held_bytes // 3
    assert memory_holders((), tmp_path / "nowhere") == ()


def test_neither_this_process_nor_the_engines_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out: list[set[int]] = []
    monkeypatch.setattr(thrash, "short_limit", lambda _pid: None)
    monkeypatch.setattr(thrash, "memory_holders", lambda ours: left_out.append(ours) or ())
    assert thrash.why(Strain("reads"), 77) == thrash.why(Strain("machine"), None) == Short()
    assert left_out == [{os.getpid(), 77}, {os.getpid()}]


def test_the_group_of_the_engines_process_matters_but_for_a_server_s_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thrash, "short_limit", lambda pid: 8 * GB if pid == 77 else None)
    assert thrash.why(Strain("reads"), 77) == Short(8 * GB)
    assert thrash.why(Strain("machine"), 77).limit_bytes is None
