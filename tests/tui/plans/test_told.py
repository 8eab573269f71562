"""What a plan says in lines: three columns, bytes by place, the speed in parts, and where each figure is from."""

from __future__ import annotations

import re

import msgspec
import pytest

from backends.hardware.machine import Card, Machine
from backends.hardware.memory import Ram
from backends.hardware.speed import Speed
from backends.planning import reached
from backends.planning.speed import Traffic
from backends.runs import Measured, Run
from presets.catalog import find, load_catalog
from presets.plan import PresetPlan, plan_preset
from presets.reference import machine_named, machine_names
from presets.schema import PresetEntry
from tui.chat.bill import Rates
from tui.plans import told
from tui.units import DASH

MACHINE = machine_named("rtx3070-8gb-32gb")
SMALL = machine_named("rtx4060-8gb-8gb-nvme")
ARTICLES = ("8b-q4_k_m", "14b-q3_k_s-offload", "32b-mixed-ssd")


def planned(name: str, machine: Machine = MACHINE, context: int | None = None) -> PresetPlan:
    return plan_preset(find(load_catalog(), name), machine, context=context, here=False)


def with_option(entry: PresetEntry, **options: object) -> PresetEntry:
    backends = {**entry.preset.backends, "llama_cpp": {**entry.preset.backends["llama_cpp"], **options}}
    return msgspec.structs.replace(entry, preset=msgspec.structs.replace(entry.preset, backends=backends))


def row(plan: PresetPlan, name: str, machine: Machine = MACHINE, rates: Rates | None = None) -> told.Columns:
    rows = told.columns(plan, machine, rates or Rates(), {plan.name: {"USD": 1_200_000.0}})
    return next(one for one in rows if one.name == name)


def test_a_figure_stands_three_times_each_under_its_own_name() -> None:
    measured = Measured((Run(23.6, 500),), 48, 46, 8192, 7_200_000_000, 500_000_000)
    plan = msgspec.structs.replace(planned(ARTICLES[1]), measured=measured)
    assert row(plan, "layers on the card") == told.Columns("layers on the card", "28", "48/48", "46/48")
    assert row(plan, "context") == told.Columns("context", "1k", "8k q8_0", "8k")
    assert row(plan, "VRAM") == told.Columns("VRAM", "6.1 GB", "7.3 GB", "7.2 GB")
    assert row(plan, "RAM") == told.Columns("RAM", "2.9 GB", "442 MB", "500 MB")
    assert row(plan, "tokens/s") == told.Columns("tokens/s", "9–12", "~45", "24")
    assert row(plan, "an answer") == told.Columns("an answer", "$0.0015", "~$0.0005 for 1,000 tokens", "$0.0012")


def test_what_nobody_knows_is_a_dash() -> None:
    machine = msgspec.structs.replace(MACHINE, bandwidth=None, gpus=())
    plan = planned("1.5b-q4_k_m", machine)
    assert row(plan, "tokens/s", machine) == told.Columns("tokens/s")
    assert row(plan, "VRAM", machine).predicted == "none"
    assert told.seconds(plan) == "How fast it is cannot be said: the speed of main memory is unknown."


def test_why_there_is_no_speed_names_only_what_matters() -> None:
    bare = Machine((Card("A card", 8 << 30),), origin="described")
    assert told.seconds(planned(ARTICLES[0], bare)) == (
        "How fast it is cannot be said: the speed of the card's memory is unknown."
    )
    assert told.seconds(planned(ARTICLES[2], bare)).endswith(
        "the speed of the card's memory and the speed of main memory and how much memory is available are unknown."
    )
    tiny = msgspec.structs.replace(bare, gpus=(), ram=Ram(1 << 30, 1 << 28))
    assert told.seconds(planned(ARTICLES[0], tiny)) == "How fast it is cannot be said: it does not fit."


def test_what_is_read_from_the_disk_is_a_dash_where_nobody_knows_what_memory_holds() -> None:
    bare = Machine((Card("A card", 8 << 30),), origin="described")
    assert row(planned(ARTICLES[2], bare), "SSD, each token", bare).predicted == DASH
    assert row(planned(ARTICLES[0], bare), "SSD, each token", bare).predicted == "none"
    assert row(planned(ARTICLES[2]), "SSD, each token").predicted == "none"


def test_a_loss_of_another_model_says_so() -> None:
    assert row(planned("starter"), "loss").predicted == "KLD 0.072 of another model"


def test_an_answers_predicted_cost_is_the_cards_at_its_limit_and_needs_one() -> None:
    plan = planned(ARTICLES[0])
    # 220 W for 1000 tokens at 61 tokens/s, 0.30 a kWh, past a power supply of 0.85: 0.000353.
    assert row(plan, "an answer").predicted == "~$0.0004 for 1,000 tokens"
    dear = Rates(price_per_kwh=3.0, currency="EUR", psu_efficiency=1.0)
    assert row(plan, "an answer", rates=dear).predicted == "~€0.0030 for 1,000 tokens"
    assert row(planned("starter"), "an answer").predicted == "<$0.0001 for 1,000 tokens"
    (card,) = MACHINE.gpus
    other = msgspec.structs.replace(MACHINE, gpus=(msgspec.structs.replace(card, watts_limit=None),))
    assert row(plan, "an answer", other).predicted == DASH


def test_the_speed_is_told_in_parts_that_add_up_to_it() -> None:
    text = told.seconds(planned(ARTICLES[2]))
    assert "7.3 GB from the card at 0.65 of 448 GB/s, 25 ms" in text
    assert "7.1 GB from memory at 0.55 of 51.2 GB/s, 251 ms" in text
    assert text.endswith(": 276 ms, ~3.6 tokens/s.")
    whole = told.seconds(planned(ARTICLES[0]))
    assert whole == "A token reads 4.8 GB from the card at 0.65 of 448 GB/s: 16.3 ms, ~61 tokens/s."


def test_a_speed_that_answers_reached_here_is_told_as_that() -> None:
    name = MACHINE.gpus[0].name
    reached.note(Traffic(5_000_000_000, 0), name, 500, 64.0)
    plan = plan_preset(find(load_catalog(), ARTICLES[0]), MACHINE)
    assert "from the card at 320 GB/s, as answers reached here" in told.seconds(plan)
    rests = {rest.name: rest for rest in told.rests(plan, MACHINE, Rates())}
    assert rests["what answers reached of the card's memory"].value == "320 GB/s"


def test_of_a_model_that_streams_the_disk_has_a_part_of_its_own_beside_the_cpus() -> None:
    plan = planned(ARTICLES[2], SMALL)
    assert plan.fit is not None
    text = told.seconds(plan)
    assert re.search(r"; [\d.]+ GB from memory at 0\.55 of 51\.2 GB/s, \d+ ms; ", text)
    assert re.search(r"; [\d.]+ GB from the disk at 0\.95 of 3\.5 GB/s, \d+ ms while the CPU computes: ", text)
    parts = [int(found) for found in re.findall(r"(\d+)(?:\.\d)? ms", text)]
    assert parts[3] == pytest.approx(parts[0] + max(parts[1:3]), abs=2)
    assert row(plan, "SSD, each token", SMALL).predicted == told.memory(plan.fit.bytes.ssd.total)
    entry = find(load_catalog(), ARTICLES[2])
    after = plan_preset(with_option(entry, read_ahead="off"), SMALL, here=False)
    assert "ms before the CPU computes: " in told.seconds(after)
    assert row(after, "tokens/s", SMALL).predicted.startswith("≤")


def test_a_disk_that_was_never_measured_is_told_with_what_is_assumed_of_it() -> None:
    machine = msgspec.structs.replace(SMALL, disk=msgspec.structs.replace(SMALL.disk, read=None))
    rests = {rest.name: rest for rest in told.machine_rests(machine)}
    assert (rests["its reads"].value, rests["its reads"].origin) == ("2 GB/s", "assumed")
    assert "from the disk at 0.95 of 2 GB/s" in told.seconds(planned(ARTICLES[2], machine))


def test_a_speed_that_reading_alone_does_not_decide_is_a_bound() -> None:
    def speed(machine: str) -> str:
        return row(planned("starter", machine_named(machine)), "tokens/s", machine_named(machine)).predicted

    assert speed("rtx3070-8gb-32gb").startswith("≤")
    # 144 MB a token: on a processor too other costs decide.
    assert speed("cpu-only").startswith("≤")
    assert row(planned(ARTICLES[0]), "tokens/s").predicted.startswith("~")


@pytest.mark.parametrize("machine", machine_names())
@pytest.mark.parametrize("name", ARTICLES)
def test_the_bytes_of_each_place_add_up_on_every_machine(machine: str, name: str) -> None:
    plan = planned(name, machine_named(machine))
    assert plan.fit is not None
    for place in told.places(plan.fit):
        assert sum(size for _, size in place.parts) == place.total
    vram, ram, ssd = told.places(plan.fit)
    assert (vram.name, ram.name, ssd.name) == ("VRAM", "RAM", "SSD")
    assert vram.free is None or vram.total <= vram.free - vram.margin


def test_another_context_is_planned_as_asked_and_never_made_smaller() -> None:
    plan = planned(ARTICLES[1], context=32_768)
    assert plan.fit is not None
    assert plan.fit.context == 32_768
    assert 0 < plan.fit.gpu_layers < plan.fit.layers


def test_every_figure_a_plan_rests_on_says_where_it_is_from() -> None:
    plan = planned(ARTICLES[1])
    rests = [*told.rests(plan, MACHINE, Rates()), *told.machine_rests(MACHINE)]
    for rest in rests:
        assert rest.origin or len(rest.value) > 20, rest
        assert rest.name
        assert not rest.name.endswith(("_bytes", "_per_s")), rest
    assert plan.fit is not None
    named = {*told._NAMES, *told._OF_THE_MACHINE}
    assert {one.name for one in plan.fit.inputs} <= named


def test_weights_of_a_file_that_is_not_here_are_told_as_by_rules() -> None:
    told_of = {rest.name: rest.origin for rest in told.rests(planned(ARTICLES[1]), MACHINE, Rates())}
    assert "within 1 % of published files" in told_of["bytes of the weights"]
    here = {rest.name: rest.origin for rest in told.rests(planned("starter"), MACHINE, Rates())}
    assert here["bytes of the weights"] == "exact"


def test_a_fast_card_is_told_in_figures_and_what_is_not_described_as_that() -> None:
    card = Card("A card", 24 << 30, bandwidth=Speed(1_008_000_000_000, "published"))
    rests = {rest.name: rest for rest in told.machine_rests(Machine((card,), origin="described"))}
    assert rests["its memory"].value == "1,008 GB/s"
    assert rests["its reads"].origin == "not described"
    assert {rest.name: rest for rest in told.machine_rests(Machine())}["its reads"].origin == "not measured yet"


def test_a_card_of_which_nobody_knows_what_is_free_says_so() -> None:
    machine = msgspec.structs.replace(MACHINE, gpus=(Card("RTX 3070", 8 << 30),))
    (card, *_) = told.machine_rests(machine)
    assert card.value == f"RTX 3070, {DASH} free of 8.6 GB"
