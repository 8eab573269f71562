"""What is said before a model is loaded, and when nothing is."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from backends.hardware.machine import Machine
from backends.hardware.memory import Ram
from backends.hardware.nvidia import Nvidia, NvidiaCard, Tenant
from presets.plan import plan_preset
from presets.reference import machine_named
from presets.schema import PresetEntry
from tests.tui.plans.conftest import MACHINE, with_free
from tui.plans import looking
from tui.plans.looking import Holder, emptied, holders
from tui.plans.preflight import Preflight, preflight

if TYPE_CHECKING:
    from tests.tui.plans.conftest import Mine

GB = 10**9
PYTHON, XORG = Holder(1234, "python3", 1_900_000_000), Holder(99, "Xorg", 200_000_000)


def before(
    entry: PresetEntry, machine: Machine, others: tuple[Holder, ...] = (), context: int | None = None
) -> Preflight | None:
    plan = plan_preset(entry, machine, context=context)
    if not machine.gpus:
        return preflight(plan)
    alone = plan_preset(entry, emptied(machine, 0, others), context=context)
    return preflight(plan, alone, others, "F3")


def layers(entry: PresetEntry, machine: Machine, context: int | None = None) -> int:
    found = plan_preset(entry, machine, context=context).fit
    assert found is not None
    return found.gpu_layers


def test_where_the_card_is_as_free_as_it_can_be_nothing_is_said(mine: Mine) -> None:
    assert before(mine(), MACHINE) is None


def test_others_on_the_card_are_told_with_what_they_cost_and_what_helps(mine: Mine) -> None:
    told = before(mine(), with_free(6 * GB), (PYTHON, XORG))
    now, best = layers(mine(), with_free(6 * GB)), layers(mine(), with_free(8_100_000_000))
    assert told is not None
    assert now < best
    assert told.short == f"{now} instead of {best} layers on the card: others hold 2.1 GB of it"
    (sentence,) = told.sentences
    assert re.fullmatch(
        rf"14B of mine needs \d\.\d GB of the card for {best} layers, 268 MB of it to stay free, and 6\.0 GB are free: "
        rf"{now} layers go there instead \(~[\d.]+ instead of ~[\d.]+ tok/s\)\. Others hold 2\.1 GB: python3 \(1234\), "
        r"Xorg \(99\)\. Close them: then \^x and F3 load it anew\. Or go on\.",
        sentence,
    )


def test_where_the_driver_does_not_tell_who_it_is_no_name_is_made_up(mine: Mine) -> None:
    told = before(mine(), with_free(6 * GB))
    assert told is not None
    assert "Others hold 2.2 GB; the driver does not tell who." in told.sentences[0]


def test_a_crowd_is_named_by_those_that_hold_most(mine: Mine) -> None:
    crowd = (PYTHON, XORG, Holder(7, "", 90_000_000), Holder(8, "b"), Holder(9, "c"))
    told = before(mine(), with_free(6 * GB), crowd)
    assert told is not None
    assert "python3 (1234), Xorg (99), process 7 and 2 more." in told.sentences[0]


def test_where_not_one_layer_is_left_the_cpu_is_told(mine: Mine) -> None:
    told = before(mine(), with_free(GB // 2))
    assert told is not None
    assert "the CPU computes everything instead" in told.sentences[0]


def test_layers_that_were_asked_for_and_do_not_fit_are_told(mine: Mine) -> None:
    told = before(mine(gpu_layers=41), with_free(6 * GB), (PYTHON,))
    assert told is not None
    assert "40 layers do not fit on the card" in told.short
    assert "free: loading may fail, or put fewer there" in told.sentences[0]
    assert 'gpu_layers = "auto"' in told.sentences[0]


def test_a_context_that_was_asked_for_counts(mine: Mine) -> None:
    told = before(mine(), with_free(6 * GB), context=32768)
    assert told is not None
    now, best = layers(mine(), with_free(6 * GB), 32768), layers(mine(), MACHINE, 32768)
    assert told.short.startswith(f"{now} instead of {best} layers")
    assert best < layers(mine(), MACHINE)


def test_weights_that_come_from_the_disk_again_and_again_are_told(mine: Mine) -> None:
    small = msgspec.structs.replace(machine_named("cpu-only"), ram=Ram(16 * GB, 6 * GB))
    told = before(mine(hold_gib=0), small)
    assert told is not None
    assert re.match(r"each token reads 8\.\d GB from the disk", told.short)
    assert re.search(r"needs 1\d\.\d GB of main memory, and 6\.0 GB are available", told.sentences[0])
    assert re.search(r": each token may read all 8\.\d GB of it from the disk again, for [≤~]", told.sentences[0])


def test_weights_that_stay_in_memory_are_told_apart_from_those_that_do_not(mine: Mine) -> None:
    told = before(mine(), msgspec.structs.replace(machine_named("cpu-only"), ram=Ram(16 * GB, 6 * GB)))
    assert told is not None
    assert re.match(r"each token reads 5\.\d GB from the disk", told.short)
    assert re.search(r"needs 1\d\.\d GB of main memory, and 6\.0 GB are available", told.sentences[0])
    assert re.search(r": 3\.\d GB of it stay there, and each token reads 5\.\d GB from the disk", told.sentences[0])


def test_memory_that_no_file_can_stand_in_for_is_told(mine: Mine) -> None:
    small = msgspec.structs.replace(machine_named("cpu-only"), ram=Ram(8 * GB, 6 * GB))
    told = before(mine(mmap=False), small)
    assert told is not None
    assert re.fullmatch(r"main memory is short by \d\.\d GB", told.short)
    assert "would swap" in told.sentences[0]
    assert "Or load it mapped: with mmap = true in its [backends.llama_cpp]" in told.sentences[0]


def test_a_model_that_is_mapped_already_is_not_told_to_be(mine: Mine) -> None:
    tiny = msgspec.structs.replace(machine_named("cpu-only"), ram=Ram(8 * GB, GB // 2))
    told = before(mine(context=32768), tiny)
    assert told is not None
    assert all("load it mapped" not in sentence for sentence in told.sentences)


def test_of_a_backend_that_places_its_model_itself_nothing_is_said(mine: Mine) -> None:
    plan = plan_preset(mine(), MACHINE)
    assert preflight(msgspec.structs.replace(plan, fit=None)) is None


# Who is on the card.


def test_an_emptied_card_has_what_others_are_told_to_hold_and_never_more_than_there_is() -> None:
    def free(now: int, *others: Holder) -> int | None:
        return emptied(with_free(now), 0, others).gpus[0].free_bytes

    total = MACHINE.gpus[0].total_bytes
    assert free(6 * GB) == total - looking.RESERVED_BYTES
    assert free(6 * GB, PYTHON, XORG) == 8_100_000_000
    assert free(6 * GB, PYTHON, Holder(2, "b")) == total - looking.RESERVED_BYTES
    assert free(6 * GB, Holder(1, "a", 9 * GB)) == total
    assert free(total) == total
    unknown = msgspec.structs.replace(MACHINE.gpus[0], free_bytes=None)
    machine = msgspec.structs.replace(MACHINE, gpus=(unknown,))
    assert emptied(machine, 0) == machine


def test_the_processes_on_a_card_are_named_without_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.getpid()
    tenants = (Tenant(me, GB), Tenant(4_000_000, 2 * GB), Tenant(4_000_001))
    monkeypatch.setattr(looking, "nvidia", lambda: Nvidia("550", None, (NvidiaCard(0, tenants),)))
    card = msgspec.structs.replace(MACHINE.gpus[0], driver="nvidia 550", index=0)
    ours = {4_000_001}
    first, second = holders(card, ours)
    assert (first.pid, first.name, first.held_bytes) == (4_000_000, "", 2 * GB)
    assert (second.pid, second.held_bytes) == (me, GB)
    assert second.name
    assert holders(msgspec.structs.replace(card, index=1), ours) == ()
    assert holders(MACHINE.gpus[0], ours) == ()


def test_a_driver_that_does_not_tell_or_is_gone_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    card = msgspec.structs.replace(MACHINE.gpus[0], driver="nvidia 550", index=0)
    for told in (None, Nvidia(), Nvidia(cards=(NvidiaCard(0, None),))):
        monkeypatch.setattr(looking, "nvidia", lambda told=told: told)
        assert holders(card, ()) == ()
