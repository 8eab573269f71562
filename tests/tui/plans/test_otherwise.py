"""What could be otherwise than planned: each with its price, and files beside each other in a table."""

from __future__ import annotations

import msgspec
import pytest

from backends.hardware.machine import Machine
from presets.catalog import find, load_catalog
from presets.families import shape_by_rules
from presets.plan import PresetPlan, plan_preset
from presets.reference import machine_named, machine_names
from tui.plans.otherwise import MIRRORS, alternatives, choices, notes
from tui.units import DASH

MACHINE, SMALL = machine_named("rtx3070-8gb-32gb"), machine_named("rtx4060-8gb-8gb-nvme")
ARTICLES = ("8b-q4_k_m", "14b-q3_k_s-offload", "32b-mixed-ssd")


def planned(name: str, machine: Machine = MACHINE) -> PresetPlan:
    return plan_preset(find(load_catalog(), name), machine, here=False)


@pytest.mark.parametrize("name", ARTICLES)
def test_every_alternative_has_a_price(name: str) -> None:
    for machine in machine_names():
        plan = planned(name, machine_named(machine))
        lines = [line for line in alternatives(plan) if line not in list(notes(plan))]
        assert lines
        for line in lines:
            assert " → " in line
            assert "tok/s" in line
            assert "GB" in line or "MB" in line


def test_of_a_speed_that_is_only_a_bound_every_alternative_is_one_too() -> None:
    assert all("≤" in line for line in alternatives(planned("starter", machine_named("cpu-only"))))


def test_an_alternative_quantisation_says_what_it_loses() -> None:
    (line,) = (line for line in alternatives(planned(ARTICLES[0])) if line.startswith("Q"))
    assert line == "Q6_K → whole on the card, 6.9 GB, ~46 tok/s, published loss 0.0055 instead of 0.028 (KLD)"


def test_of_a_32b_that_streams_files_of_about_its_size_and_the_14b_stand_beside_each_other() -> None:
    own, *others = choices(planned(ARTICLES[2], SMALL))
    assert (own.name, own.own, own.loss) == ("Q3_K_S", True, "0.2*")
    names = [one.name for one in others]
    assert {"IQ3_M", "IQ3_XXS"} <= set(names)
    assert names[-2:] == ["Qwen-14B Q4_K_M", "Qwen-14B Q3_K_M"]
    for one in others:
        assert one.layers.endswith(("/64", "/48"))
        assert one.size.endswith("GB")
        assert one.speed.startswith("≤" if one.name.startswith("IQ") else "~")
    assert {one.loss for one in others if one.name.startswith("Qwen")} == {DASH}
    assert {one.loss for one in others if one.name == "IQ3_M"} == {"0.1*"}
    assert others[-1].ssd == "none"
    assert own.ssd.endswith("GB")
    assert any(
        "how much worse a smaller model is, nobody says" in line for line in alternatives(planned(ARTICLES[2], SMALL))
    )


def test_what_the_same_file_allows_can_be_told_apart_from_other_files() -> None:
    plan = planned(ARTICLES[2], SMALL)
    same = list(alternatives(plan, files=False))
    assert same
    assert all(" context → " in line or " KV cache → " in line for line in same)


def test_mirrored_recipes_are_told_to_be_as_large_and_as_fast_as_each_other() -> None:
    family = "DeepSeek-R1-Distill-Qwen-32B"
    if any(shape_by_rules(family, name) is None for name in MIRRORS):
        pytest.skip("the recipes are not known here")
    for machine in (SMALL, machine_named("rtx3060-8gb-16gb")):
        plan = planned(ARTICLES[2], machine)
        one, other = (next(row for row in choices(plan) if row.name == name) for name in MIRRORS)
        assert (one.size, one.speed, one.loss) == (other.size, other.speed, DASH)
        assert one.layers != other.layers
        assert any("equally large, and so equally fast" in line for line in notes(plan))
    whole = planned(ARTICLES[0])
    assert not list(notes(whole))


def test_where_nobody_knows_what_memory_holds_what_is_read_from_the_disk_is_a_dash() -> None:
    bare = msgspec.structs.replace(SMALL, ram=msgspec.structs.replace(SMALL.ram, available_bytes=None))
    own, *others = choices(planned(ARTICLES[2], bare))
    assert own.ssd == DASH
    assert {one.ssd for one in others} == {DASH, "none"}
