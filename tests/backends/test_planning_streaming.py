"""The plan of a model that main memory does not hold: what stays, what each token reads, and how fast that is."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.gguf.shape import Shape
from backends.hardware.disk import Disk
from backends.hardware.speed import Speed
from backends.planning.disks import ASSUMED_BYTES_PER_S, read_speed
from backends.planning.fit import fit
from backends.planning.result import Fit, Wishes
from backends.planning.speed import DISK_EFFICIENCY
from backends.planning.streaming import RESERVE_BYTES, WINDOW_BYTES, Streaming, streaming
from presets.families import shape_by_rules
from presets.reference import machine_named
from tests.backends.planning_world import GB, GIB, MIB, machine, says, shape_of
from tests.gguf_files import QWEN_32B

SMALL = machine_named("rtx4060-8gb-8gb-nvme")
WISHES = Wishes(context=4096, kv_cache="q8_0")


def planned(wishes: Wishes = WISHES, machine_name: str = "rtx4060-8gb-8gb-nvme", kind: str = "Q3_K_S") -> Fit:
    shape = shape_by_rules("DeepSeek-R1-Distill-Qwen-32B", kind)
    assert shape is not None
    return fit(shape, machine_named(machine_name), wishes)


# The formula that the plan and the engine share.


def test_what_stays_is_what_is_free_without_all_that_others_need() -> None:
    assert streaming(8 * GIB, GIB, 6 * GIB) == Streaming(4 * GIB, 4 * GIB)
    assert WINDOW_BYTES + RESERVE_BYTES == GIB
    assert streaming(8 * GIB, GIB, 6 * GIB, 2 * GIB) == Streaming(2 * GIB, 6 * GIB)
    assert streaming(8 * GIB, GIB, 6 * GIB, 0) == Streaming(0, 8 * GIB)
    assert streaming(8 * GIB, GIB, GIB) == Streaming(0, 8 * GIB)


def test_a_small_memory_leaves_less_to_others_and_to_what_passes_through() -> None:
    assert streaming(1600 * MIB, 100 * MIB, 800 * MIB) == Streaming(400 * MIB, 1200 * MIB)


sizes = st.integers(0, 64 * GIB)


@given(sizes, sizes, sizes, sizes, st.none() | sizes)
def test_every_byte_is_in_one_place_and_more_memory_never_reads_more(
    read: int, unmapped: int, free: int, more: int, most: int | None
) -> None:
    one, other = (streaming(read, unmapped, room, most) for room in (free, free + more))
    assert one.held + one.streamed == read
    assert min(one.held, one.streamed) >= 0
    assert one.held == 0 or one.held + unmapped <= free
    assert other.streamed <= one.streamed


# A 32B on 8 GB of card and 8 GB of memory.


def test_a_32b_on_8_gb_of_memory_streams_what_does_not_stay() -> None:
    plan = planned()
    need = planned(machine_name="rtx3060-8gb-16gb")
    assert plan.fits
    assert plan.needs_bytes is not None
    assert plan.bytes.ram.free is not None
    assert plan.needs_bytes > plan.bytes.ram.free > plan.bytes.ram.total
    assert plan.kept_bytes > 4 * GB
    assert 1 * GB < plan.bytes.ssd.total < 3 * GB
    assert need.bytes.ssd.total == 0
    assert plan.reads_ahead
    assert says(plan.warnings, "of the weights stay in memory, and each token reads the other")
    assert says(plan.reasons, "from the disk at 3.5 GB/s, while the CPU computes what is there.")
    assert says(plan.reasons, "Loading reads the whole file once: 14.4 GB, about 4 s.")


def test_with_read_ahead_the_slower_of_disk_and_cpu_counts_and_without_it_their_sum() -> None:
    ahead, after = planned(), planned(msgspec.structs.replace(WISHES, read_ahead=False))
    assert ahead.tokens_per_second is not None
    assert after.tokens_per_second is not None
    disk = ahead.bytes.ssd.total / (DISK_EFFICIENCY * 3.5 * GB)
    memory = (ahead.kept_bytes + ahead.bytes.ssd.total) / (0.55 * 51.2 * GB)
    card = 1 / ahead.tokens_per_second - max(disk, memory)
    assert card == pytest.approx(ahead.bytes.vram.weights / (0.65 * 272 * GB), rel=0.1)
    assert 1 / after.tokens_per_second == pytest.approx(card + disk + memory, rel=0.02)
    assert (ahead.only_a_bound, after.only_a_bound) == (False, True)
    assert says(after.reasons, "and then computes: nothing is read ahead")


def test_what_stays_in_memory_makes_it_faster_and_a_bound_on_it_slower() -> None:
    speeds = [planned(msgspec.structs.replace(WISHES, hold_bytes=size)) for size in (0, GIB, 3 * GIB, None)]
    assert [one.kept_bytes for one in speeds[:3]] == [0, GIB, 3 * GIB]
    rates = [one.tokens_per_second or 0 for one in speeds]
    assert rates == sorted(rates)
    assert rates[3] > 2 * rates[0] > 0
    assert says(speeds[1].reasons, "No more than 1.1 GB of weights are to stay in memory")
    assert says(speeds[0].warnings, "each token may read all")


@pytest.mark.parametrize("name", ["rtx3060-8gb-16gb", "rtx3070-8gb-64gb", "rtx4060-8gb-laptop"])
@pytest.mark.parametrize("kind", ["Q3_K_S", "IQ3_M", "Q3_K_M"])
def test_on_8_gb_of_card_and_16_gb_of_memory_or_more_nothing_streams_and_that_is_said(name: str, kind: str) -> None:
    plan = planned(machine_name=name, kind=kind)
    assert (plan.bytes.ssd.total, plan.kept_bytes, plan.needs_bytes) == (0, 0, None)
    assert says(plan.reasons, "Main memory holds the CPU's part")
    assert says(plan.reasons, "once loaded, nothing is read from the disk")


def test_a_speed_that_answers_reached_of_the_disk_takes_the_place_of_the_assumed_share() -> None:
    assumed, seen = planned(), planned(msgspec.structs.replace(WISHES, disk_reached=2 * GB))
    assert {one.name: one.origin for one in assumed.inputs}["ssd_efficiency"] == "assumed"
    origins = {one.name: one.origin for one in seen.inputs}
    assert origins["ssd_reached_bytes_per_s"] == "measured"
    assert "ssd_efficiency" not in origins
    assert seen.tokens_per_second == pytest.approx(
        1 / (1 / (assumed.tokens_per_second or 1) + seen.bytes.ssd.total * (1 / (2 * GB) - 1 / (0.95 * 3.5 * GB)))
    )
    whole = planned(machine_name="rtx3060-8gb-16gb")
    assert not {"ssd_efficiency", "ssd_reached_bytes_per_s"} & {one.name for one in whole.inputs}


# A disk that nobody has measured.


def test_a_disk_that_was_never_measured_is_taken_for_one_of_its_kind_and_that_is_said() -> None:
    shape = shape_of(QWEN_32B, "Q4_K_M")
    for kind, rate in ASSUMED_BYTES_PER_S.items():
        plan = fit(shape, machine(ram=6 * GIB, disk=Disk(kind)))
        assert {one.name: (one.value, one.origin) for one in plan.inputs}["ssd_bytes_per_s"] == (rate, "assumed")
        assert plan.tokens_per_second is not None
        assert says(plan.warnings, f"The disk was not measured: {rate / 1e9:.3g} GB/s are assumed")
        known = fit(shape, machine(ram=6 * GIB, disk=Disk(kind)), Wishes(disk_reached=GB))
        assert not says(known.warnings, "The disk was not measured")


def test_no_disk_is_assumed_to_be_faster_than_its_link() -> None:
    assert read_speed(Disk("nvme", pcie_gt_per_s=8.0, pcie_lanes=1)) == Speed(984_615_385, "assumed")
    assert read_speed(Disk("nvme", pcie_gt_per_s=16.0, pcie_lanes=4)) == Speed(2 * GB, "assumed")
    measured = Speed(3 * GB, "measured")
    assert read_speed(Disk("nvme", read=measured)) == measured


@pytest.mark.parametrize("kind", ["unknown", "memory", "network"])
def test_of_a_disk_of_which_nothing_is_known_nothing_is_assumed(kind: str) -> None:
    plan = fit(shape_of(QWEN_32B, "Q4_K_M"), machine(ram=6 * GIB, disk=msgspec.convert({"kind": kind}, Disk)))
    assert plan.bytes.ssd.total > 0
    assert plan.tokens_per_second is None
    assert says(plan.warnings, "network disk") == (kind == "network")


# What could be taken instead.


def shapes(family: str, *kinds: str) -> list[Shape]:
    found = [shape_by_rules(family, kind) for kind in kinds]
    return [shape for shape in found if shape is not None]


def test_of_a_model_that_is_not_whole_on_the_card_files_of_about_its_size_and_a_smaller_model_are_named() -> None:
    (own,) = shapes("DeepSeek-R1-Distill-Qwen-32B", "Q3_K_S")
    others = shapes("DeepSeek-R1-Distill-Qwen-32B", "Q8_0", "IQ3_M", "IQ3_XXS", "IQ2_XXS", "Q3_K_S")
    smaller = [("the 14B", shapes("DeepSeek-R1-Distill-Qwen-14B", "Q4_K_M", "Q3_K_S", "IQ2_M"))]
    plan = fit(own, SMALL, WISHES, others, smaller)
    named = [(one.changes, one.quantization) for one in plan.alternatives if one.changes in ("quantization", "model")]
    assert named == [("quantization", "IQ3_XXS"), ("quantization", "IQ3_M"), ("model", "Q4_K_M"), ("model", "Q3_K_S")]
    four, three = [one for one in plan.alternatives if one.changes == "model"]
    assert (four.family, four.layers, four.whole, three.whole) == ("the 14B", 48, False, True)
    assert (three.tokens_per_second or 0) > 10 * (plan.tokens_per_second or 0) > 0
    streams = {one.quantization: one.ssd_bytes for one in plan.alternatives if one.changes == "quantization"}
    assert streams["IQ3_XXS"] < plan.bytes.ssd.total < streams["IQ3_M"]


def test_a_model_that_is_whole_names_no_smaller_one_and_a_family_that_does_not_fit_is_passed_over() -> None:
    (eight,) = shapes("DeepSeek-R1-Distill-Llama-8B", "Q4_K_M")
    (large,) = shapes("DeepSeek-R1-Distill-Qwen-32B", "Q3_K_S")
    smaller = [("the 14B", shapes("DeepSeek-R1-Distill-Qwen-14B", "Q8_0")), ("the 8B", [eight])]
    assert not [one for one in fit(eight, SMALL, WISHES, (), smaller).alternatives if one.changes == "model"]
    (named,) = [one for one in fit(large, SMALL, WISHES, (), smaller).alternatives if one.changes == "model"]
    assert (named.family, named.quantization, named.whole) == ("the 8B", "Q4_K_M", True)


def test_without_a_card_a_smaller_model_is_named_only_where_memory_does_not_hold_the_planned_one() -> None:
    (own,) = shapes("DeepSeek-R1-Distill-Qwen-32B", "Q3_K_S")
    smaller = [("the 8B", shapes("DeepSeek-R1-Distill-Llama-8B", "Q4_K_M"))]
    short, enough = (fit(own, machine(gpus=(), ram=size * GIB), WISHES, (), smaller) for size in (8, 30))
    assert [one.family for one in short.alternatives if one.changes == "model"] == ["the 8B"]
    assert not [one for one in enough.alternatives if one.changes == "model"]
