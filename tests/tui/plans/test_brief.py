"""A plan in the sidebar's two lines: short, whole, and true of what is loaded."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Loaded
from backends.hardware.memory import Ram
from backends.planning.result import Fit, Tier, Tiers
from backends.runs import Measured, Run
from presets.catalog import load_catalog
from presets.plan import PresetPlan, plan_preset
from presets.reference import machine_named
from presets.sources import Located
from tests.tui.plans.conftest import MACHINE, with_free
from tui.plans.brief import ROOM, Brief, Held, brief
from tui.units import memory

if TYPE_CHECKING:
    from tests.tui.plans.conftest import Mine

GB = 10**9


def fit_of(plan: PresetPlan) -> Fit:
    assert plan.fit is not None
    return plan.fit


def test_a_model_that_fits_says_its_layers_its_bytes_and_its_speed(mine: Mine) -> None:
    plan = plan_preset(mine(), MACHINE)
    found = fit_of(plan)
    assert found.tokens_per_second is not None
    size = memory(found.bytes.vram.total)
    assert brief(plan) == Brief(f"{found.gpu_layers}/48 layers · {size}", f"~{found.tokens_per_second:.2g} tok/s")
    crowded = plan_preset(mine(), with_free(5 * GB))
    assert fit_of(crowded).gpu_layers < found.gpu_layers
    assert brief(crowded).detail.startswith(f"{fit_of(crowded).gpu_layers}/48 layers · 4.")


def test_what_was_measured_here_has_no_mark(mine: Mine) -> None:
    plan = plan_preset(mine(), MACHINE)
    layers = fit_of(plan).gpu_layers
    measured = Measured((Run(11.7, 100),), layers=48, gpu_layers=layers)
    assert brief(msgspec.structs.replace(plan, measured=measured)).speed == "12 tok/s"
    other = msgspec.structs.replace(measured, gpu_layers=layers - 5)
    assert brief(msgspec.structs.replace(plan, measured=other)).speed.startswith("~")


def test_a_model_that_is_not_here_says_so_with_its_size_and_what_it_would_reach() -> None:
    entry = next(one for one in load_catalog().entries if one.name == "14b-q3_k_s-offload")
    found = brief(plan_preset(entry, MACHINE))
    assert (found.detail, found.problem) == ("not downloaded · 6.7 GB", True)
    assert re.fullmatch(r"~\d+ tok/s", found.speed)


def test_too_little_memory_says_what_is_needed_and_what_there_is(mine: Mine) -> None:
    small = msgspec.structs.replace(machine_named("cpu-only"), ram=Ram(2 * GB, GB // 2))
    plan = plan_preset(mine(mmap=False), small)
    need = fit_of(plan).bytes.ram.total / 1e9
    assert brief(plan) == Brief(f"needs {need:.1f} · has 0.5 GB", "", problem=True)


def test_weights_from_the_disk_are_said_with_what_a_token_reads(mine: Mine) -> None:
    short = msgspec.structs.replace(with_free(4 * GB), ram=Ram(8 * GB, 3 * GB))
    found = brief(plan_preset(mine(), short))
    assert re.fullmatch(r"\d+/48 · SSD \d\.\d GB/token", found.detail)
    alone = msgspec.structs.replace(machine_named("cpu-only"), ram=Ram(16 * GB, 3 * GB))
    assert re.fullmatch(r"CPU · SSD \d\.\d GB/token", brief(plan_preset(mine(), alone)).detail)


def test_of_a_loaded_model_what_is_true_of_it_counts_and_not_the_plan(mine: Mine) -> None:
    plan = plan_preset(mine(), MACHINE)
    layers = fit_of(plan).gpu_layers
    fewer = Loaded(8192, layers=48, gpu_layers=30, output_on_gpu=True)
    assert layers != 30
    assert brief(plan, Held(fewer, 6_400_000_000)) == Brief("30/48 layers · 6.4 GB")
    assert brief(plan, Held(fewer, 6_400_000_000, about=True)).detail == "30/48 layers · ~6.4 GB"
    assert brief(plan, Held(fewer)).detail == "30/48 layers"
    as_planned = Loaded(8192, layers=48, gpu_layers=layers, output_on_gpu=True)
    assert brief(plan, Held(as_planned)).speed == brief(plan).speed != ""
    cpu = Loaded(8192, layers=48, gpu_layers=0, output_on_gpu=False)
    assert brief(plan, Held(cpu, 0)) == Brief("on the CPU")


def test_a_bound_is_marked_as_one() -> None:
    entry = next(one for one in load_catalog().entries if one.name == "starter")
    assert brief(plan_preset(entry, MACHINE)).speed.startswith("≤")


@pytest.mark.parametrize("name", ["rtx3060-8gb-16gb", "cpu-only"])
def test_no_line_of_our_presets_needs_to_be_cut(name: str) -> None:
    for entry in load_catalog().entries:
        plan = plan_preset(entry, machine_named(name))
        for one in (plan, msgspec.structs.replace(plan, located=Located(present=True, model="m"))):
            found = brief(one)
            assert len(found.detail) <= ROOM
            assert len(found.speed) <= ROOM
            assert "…" not in found.detail


@functools.cache
def _split() -> PresetPlan:
    entry = next(one for one in load_catalog().entries if one.name == "32b-mixed-ssd")
    return msgspec.structs.replace(plan_preset(entry, MACHINE), located=Located(present=True, model="m"))


_BYTES = st.integers(0, 999 * GB)


@given(_BYTES, _BYTES, _BYTES, st.booleans(), st.booleans())
def test_whatever_the_sizes_are_a_line_fits_and_no_figure_in_it_is_cut(
    need: int, free: int, ssd: int, fits: bool, on_card: bool
) -> None:
    plan = _split()
    assert plan.fit is not None
    tiers = Tiers(Tier(need, 0, 0, 0, need, free), Tier(need, 0, 0, 0, need, free), Tier(ssd, 0, 0, 0, ssd))
    found = msgspec.structs.replace(plan.fit, bytes=tiers, fits=fits, output_on_card=on_card)
    line = brief(msgspec.structs.replace(plan, fit=found)).detail
    assert len(line) <= ROOM
    assert "…" not in line
