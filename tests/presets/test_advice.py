"""Which preset a machine is advised to run: one rule after the other."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.hardware.machine import Machine
from backends.hardware.memory import Ram
from presets.advice import FLUENT, Advice, advise
from presets.catalog import load_catalog
from presets.plan import PresetPlan, plan_preset
from presets.reference import machine_named, machine_names

CARD, NO_CARD = machine_named("rtx3070-8gb-32gb"), machine_named("cpu-only")
GB = 10**9


def plans(machine: Machine) -> list[PresetPlan]:
    """The plans of all presets but the starter."""
    return [plan_preset(entry, machine, here=False) for entry in load_catalog().entries if entry.name != "starter"]


def with_free(free_bytes: int) -> Machine:
    return msgspec.structs.replace(CARD, gpus=(msgspec.structs.replace(CARD.gpus[0], free_bytes=free_bytes),))


def with_memory(available_bytes: int, machine: Machine = NO_CARD) -> Machine:
    return msgspec.structs.replace(machine, ram=Ram(32 * GB, available_bytes))


def told(advice: Advice | None) -> tuple[str, str]:
    assert advice is not None
    return advice.plan.name, advice.why


def test_the_largest_that_is_whole_on_the_card() -> None:
    assert told(advise(plans(CARD))) == ("14b-q3_k_s-offload", "the largest that is whole on the card")


def test_a_smaller_one_that_is_whole_goes_before_a_larger_one_in_parts() -> None:
    assert told(advise(plans(with_free(6 * GB)))) == ("8b-q4_k_m", "the largest that is whole on the card")


def test_without_a_card_the_largest_that_is_as_fast_as_people_read() -> None:
    found = advise(plans(NO_CARD))
    assert told(found) == ("8b-q4_k_m", "the largest that reaches 5 tok/s")


def test_a_slow_machine_gets_the_fastest() -> None:
    assert NO_CARD.bandwidth is not None
    slow = msgspec.structs.replace(NO_CARD.bandwidth, bytes_per_s=2 * GB)
    machine = msgspec.structs.replace(NO_CARD, bandwidth=slow)
    assert told(advise(plans(machine))) == ("1.5b-q4_k_m", "the fastest of those that fit")


def test_a_machine_that_nobody_has_measured_gets_the_smallest_and_hears_why() -> None:
    name, why = told(advise(plans(msgspec.structs.replace(NO_CARD, bandwidth=None))))
    assert (name, "not measured" in why) == ("1.5b-q4_k_m", True)


def test_what_does_not_fit_is_not_advised() -> None:
    assert told(advise(plans(with_memory(3 * GB))))[0] == "1.5b-q4_k_m"
    assert advise(plans(with_memory(GB // 2))) is None
    assert advise([]) is None


@pytest.mark.parametrize("name", machine_names())
@settings(max_examples=10, deadline=None)
@given(free=st.integers(0, 40), memory=st.integers(0, 64), order=st.randoms())
def test_whatever_is_advised_fits_and_never_reads_from_the_disk(name: str, free: int, memory: int, order) -> None:
    machine = with_memory(memory * GB, machine_named(name))
    cards = tuple(msgspec.structs.replace(card, free_bytes=free * GB // 2) for card in machine.gpus)
    found = plans(msgspec.structs.replace(machine, gpus=cards))
    order.shuffle(found)
    advice = advise(found)
    if advice is None:
        assert not any(plan.fit and plan.fit.fits and not plan.fit.bytes.ssd.total for plan in found)
        return
    fit = advice.plan.fit
    assert fit is not None
    assert fit.fits
    assert not fit.bytes.ssd.total
    whole = any(plan.fit and plan.fit.fits and plan.fit.whole for plan in found)
    assert fit.whole == whole
    if not whole and (fit.tokens_per_second or 0) < FLUENT:
        held = [plan.fit for plan in found if plan.fit and plan.fit.fits and not plan.fit.bytes.ssd.total]
        assert all((one.tokens_per_second or 0) < FLUENT for one in held)
