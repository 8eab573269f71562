"""The bars of a plan where main memory is too small: for what no file holds, and for what the disk gives again."""

from __future__ import annotations

import msgspec

from backends.hardware.machine import Machine
from backends.hardware.memory import Ram
from presets.catalog import find, load_catalog
from presets.plan import PresetPlan, plan_preset
from presets.reference import machine_named
from tui.screens.plan.bars import bars
from tui.screens.plan.content import View, content

GB = 10**9


def planned(name: str, machine: Machine, context: int | None = None) -> PresetPlan:
    return plan_preset(find(load_catalog(), name), machine, context=context)


def test_where_more_is_needed_than_there_is_the_bar_says_from_where_on() -> None:
    small = msgspec.structs.replace(machine_named("cpu-only"), ram=Ram(16 * GB, 4 * GB))
    plan = planned("14b-q3_k_s-offload", small, context=131_072)  # its KV cache is in no file
    (ram,) = (bar for bar in bars(plan, small) if bar.name == "RAM")
    assert ram.room == 16 * GB < ram.whole
    text = content(View("x", small, plan), 100).plain
    assert f"{(ram.whole - ram.room) / 1e9:.1f} GB too much from here on ▲" in text


def test_what_is_streamed_has_a_bar_of_its_own_and_none_is_longer_than_its_room() -> None:
    small = machine_named("rtx4060-8gb-8gb-nvme")
    plan = planned("32b-mixed-ssd", small)
    assert plan.fit is not None
    _vram, ram, ssd = bars(plan, small)
    assert ssd.used == plan.fit.bytes.ssd.total > 0
    assert ram.room is not None
    assert ram.whole == ram.room
    text = content(View("x", small, plan), 100).plain
    assert "too much from here on" not in text
    assert " a token\n" in text
