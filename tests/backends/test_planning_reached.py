"""What answers reached of a memory's speed decides about the next prediction."""

from __future__ import annotations

from typing import Any

import pytest

from backends import remembered
from backends.hardware.disk import Disk
from backends.hardware.machine import Card, Machine
from backends.hardware.memory import Ram
from backends.hardware.speed import Speed
from backends.planning import reached
from backends.planning.fit import fit
from backends.planning.result import Wishes
from backends.planning.speed import Traffic
from presets.families import shape_by_rules

GB, GIB = 10**9, 1024**3
CARD = "NVIDIA GeForce RTX 5060 Ti"


def test_nothing_was_reached_before_anything_ran() -> None:
    assert reached.recall(CARD) is None
    assert reached.recall(reached.MEMORY) is None


def test_a_model_whole_on_the_card_shows_what_the_card_gives() -> None:
    for speed in (40.0, 43.0, 10.0):
        reached.note(Traffic(9 * GB, 0), CARD, 500, speed)
    assert reached.recall(CARD) == 360 * GB
    assert reached.recall(f"  {CARD.upper()} ") == 360 * GB
    assert reached.recall(reached.MEMORY) is None


def test_a_model_on_the_processor_shows_what_memory_gives() -> None:
    reached.note(Traffic(0, 5 * GB), "", 500, 6.0)
    assert reached.recall(reached.MEMORY) == 30 * GB


@pytest.mark.parametrize(
    ("read", "tokens"),
    [
        (Traffic(4 * GB, 4 * GB), 500),  # in two places: which of them was slow is not known
        (Traffic(0, 9 * GB, 9 * GB), 500),  # from the disk
        (Traffic(0, GB // 10), 500),  # so small that reading does not decide
        (Traffic(0, 9 * GB), 5),  # too short
        (Traffic(0, 0), 500),
    ],
)
def test_what_shows_nothing_is_not_kept(read: Traffic, tokens: int) -> None:
    reached.note(read, CARD, tokens, 10.0)
    assert reached.recall(CARD) is None
    assert reached.recall(reached.MEMORY) is None


@pytest.mark.parametrize("strange", ["fast", {"a": 1}, [True, "x", -5, None], 3, [], None])
def test_what_is_not_understood_counts_as_nothing(strange: Any) -> None:
    reached.note(Traffic(9 * GB, 0), CARD, 500, 40.0)
    assert reached.recall(CARD) == 360 * GB
    remembered.write("reached", CARD.casefold(), strange)
    assert reached.recall(CARD) is None


def test_answers_that_others_work_slowed_do_not_count_beside_better_ones() -> None:
    for speed in (40.0, 6.0, 5.0, 41.0, 7.0):
        reached.note(Traffic(9 * GB, 0), CARD, 500, speed)
    assert reached.recall(CARD) == 9 * 40 * GB


def test_what_another_processors_memory_gave_is_not_this_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    reached.note(Traffic(0, 5 * GB), "", 500, 6.0)
    with monkeypatch.context() as other:
        other.setattr(reached, "_processor", lambda: "Another CPU")
        assert reached.recall(reached.MEMORY) is None
        reached.note(Traffic(0, 5 * GB), "", 500, 12.0)
        assert reached.recall(reached.MEMORY) == 60 * GB
    assert reached.recall(reached.MEMORY) == 30 * GB


def test_a_rate_that_was_reached_takes_the_place_of_the_assumed_share() -> None:
    """A published sweep: Qwen 14B Q4_K_M whole on an RTX 5060 Ti answers at 43 tokens/s, where 0.65 gives 34."""
    shape = shape_by_rules("DeepSeek-R1-Distill-Qwen-14B", "Q4_K_M")
    assert shape is not None
    machine = Machine(
        (Card(CARD, 16 * GIB, 15 * GIB, bandwidth=Speed(448 * GB, "published")),), Ram(32 * GIB, 30 * GIB)
    )
    wishes = Wishes(context=4096, kv_cache="f16", depth=64)
    assumed = fit(shape, machine, wishes)
    assert assumed.tokens_per_second == pytest.approx(34, rel=0.03)
    seen = fit(shape, machine, Wishes(context=4096, kv_cache="f16", depth=64, card_reached=366 * GB))
    assert seen.tokens_per_second == pytest.approx(43, rel=0.03)
    origins = {one.name: one.origin for one in seen.inputs}
    assert origins["vram_reached_bytes_per_s"] == "measured"
    assert "vram_efficiency" not in origins
    assert "vram_efficiency" in {one.name for one in assumed.inputs}


NVME, OTHER = Disk("nvme", "nvme0n1", "A disk", "ext4", 10**12), Disk("nvme", "nvme1n1", "A disk", "ext4", 10**12)


def test_what_came_from_a_disk_while_tokens_waited_for_it_is_kept_of_that_disk_alone() -> None:
    assert reached.recall_disk(NVME) is None
    for seconds in (10.0, 9.0, 30.0):
        reached.note_disk(NVME, 27 * GB, seconds)
    assert reached.recall_disk(NVME) == 27 * GB // 10
    assert reached.recall_disk(OTHER) is None
    assert reached.recall(reached.MEMORY) is None
    # What is free on it changes, and it stays the same disk.
    assert reached.recall_disk(Disk("nvme", "nvme0n1", "A disk", "ext4", 10**12, free_bytes=5)) == 27 * GB // 10


@pytest.mark.parametrize(("size", "seconds"), [(GB // 2, 10.0), (9 * GB, 0.5), (0, 0.0)])
def test_too_little_from_a_disk_says_nothing(size: int, seconds: float) -> None:
    reached.note_disk(NVME, size, seconds)
    assert reached.recall_disk(NVME) is None
