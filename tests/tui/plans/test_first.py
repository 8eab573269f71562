"""What is read at the first start: this machine, what fits it best, and the next key."""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends.hardware.machine import Machine
from presets.advice import Advice
from presets.catalog import find, load_catalog
from presets.found import Found
from presets.plan import PresetPlan, plan_preset
from presets.reference import machine_named
from tui.plans.first import STARTER, lines

CARD, NO_CARD = machine_named("rtx3070-8gb-32gb"), machine_named("cpu-only")
WHY = "the largest that is whole on the card"


def planned(machine: Machine = CARD) -> PresetPlan:
    return plan_preset(find(load_catalog(), "14b-q3_k_s-offload"), machine, here=False)


def test_the_machine_the_advice_and_one_key() -> None:
    machine = msgspec.structs.replace(CARD, disk=msgspec.structs.replace(CARD.disk, free_bytes=412 * 10**9))
    assert lines(machine, Advice(planned(), WHY), key="F3", rate=42e6) == [
        "Card: NVIDIA GeForce RTX 3070, 8.6 GB, 8.2 GB free",
        "Memory: 34.4 GB, 32.2 GB available",
        "Disk: 412.0 GB free where models go",
        "",
        "Best here: 14B Q3_K_S + offload, 6.7 GB: the largest that is whole on the card",
        "Expected: 48/48 layers · 7.3 GB, ~45 tok/s",
        "Enter, with nothing typed, fetches it, in ~2 min 38 s, and begins with it.",
        "",
        STARTER,
        "F1 shows every key, F2-7 choose a preset, F8 says what this machine can run and why.",
    ]


def test_each_state_has_its_own_next_step() -> None:
    advice = Advice(planned(), WHY)
    here = msgspec.structs.replace(advice.plan, located=msgspec.structs.replace(advice.plan.located, present=True))
    same = Found("Ollama", "deepseek-r1:14b", Path("/blobs/x"), 1)
    assert "Enter, with nothing typed, fetches it, and begins with it." in lines(CARD, advice)
    assert "It is on its way, and loads when it is here." in lines(CARD, advice, coming=True, same=same)
    assert "It is here: F3 loads it." in lines(CARD, Advice(here, WHY), key="F3")
    assert "Ollama keeps it on this machine already: Enter, with nothing typed, uses it as it is." in lines(
        CARD, advice, same=same
    )


def test_a_machine_without_a_card_or_with_one_that_lies_idle_says_so() -> None:
    assert lines(NO_CARD, None)[0] == "Card: none that can be used, so the processor computes everything"
    assert lines(CARD, None, card_usable=False)[0].endswith("; this build of the engine leaves it idle")
    assert "Best here: no preset is known to fit into its memory. F8 says why." in lines(NO_CARD, None)


def test_an_unknown_speed_is_no_number_and_says_how_to_know_it() -> None:
    slow = msgspec.structs.replace(NO_CARD, bandwidth=None)
    told = lines(slow, Advice(planned(slow), "why"))
    assert "Expected: on the CPU · 7.7 GB. F8, then m, measures how fast: it takes 5 s" in told
    assert "Memory: –" in lines(Machine(), None)
