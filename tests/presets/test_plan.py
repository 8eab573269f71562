"""What is said about a preset before it is loaded: where its model is, what fits, how fast it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import runs
from backends.hardware.machine import Machine
from backends.hardware.memory import Ram
from backends.planning import learned
from backends.planning.result import MARGIN_BYTES
from backends.runs import Measured, Run
from presets.catalog import find, load_catalog
from presets.plan import PresetPlan, outlook, plan_preset, rate, wishes_for
from presets.reference import machine_named
from presets.schema import PresetEntry, options_for
from presets.sources import LocalFile, Located, Ollama, locate, parse
from tests.backends.test_gguf_split import split


@pytest.fixture
def entry(tmp_path: Path) -> PresetEntry:
    return find(load_catalog(tmp_path), "8b-q4_k_m")


def test_the_starter_is_ready_with_its_size(tmp_path: Path) -> None:
    starter = find(load_catalog(tmp_path), "starter")
    look = outlook(starter, "llama_cpp", locate(parse(starter.preset.backends["llama_cpp"]["source"])))
    assert (look.line, look.ready, look.hint) == ("llama.cpp · 98 MB · ready", True, "")


def test_a_model_that_is_not_there_has_no_size_and_a_next_step(
    entry: PresetEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSEEK_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    look = outlook(entry, "llama_cpp", locate(parse(entry.preset.backends["llama_cpp"]["source"])))
    assert (look.line, look.ready, look.size_bytes) == ("llama.cpp · not downloaded", False, None)
    assert "deepseek-tui pull hf:" in look.hint


def test_a_file_that_is_missing_is_said(entry: PresetEntry, tmp_path: Path) -> None:
    look = outlook(entry, "llama_cpp", locate(LocalFile(str(tmp_path / "gone.gguf"))))
    assert (look.line, look.ready) == ("llama.cpp · file missing", False)


def test_a_servers_model_may_be_tried(entry: PresetEntry) -> None:
    look = outlook(entry, "ollama", locate(Ollama("deepseek-r1:8b")))
    assert (look.line, look.ready) == ("Ollama · on a server", True)


def test_a_backend_that_the_preset_does_not_have_is_not_ready(entry: PresetEntry) -> None:
    look = outlook(entry, "echo", Located(present=True))
    assert (look.line, look.ready) == ("echo · not in this preset", False)
    assert look.hint == "This preset can run with: llama_cpp, ollama."


GIB = 1024**3
MACHINE = machine_named("rtx3070-8gb-32gb")
ARTICLES = "14b-q3_k_s-offload"


def of(tmp_path: Path, name: str, text: str) -> PresetEntry:
    """Write a preset of the user's, and read it."""
    (tmp_path / f"{name}.toml").write_text(text)
    return find(load_catalog(tmp_path), name)


def planned(name: str, machine: Machine = MACHINE, **other: Any) -> PresetPlan:
    return plan_preset(find(load_catalog(), name), machine, **other)


def test_every_preset_of_ours_is_planned_or_says_why_not() -> None:
    for entry in load_catalog().entries:
        plan = plan_preset(entry, MACHINE)
        assert (plan.fit is None) == (entry.preset.backend != "llama_cpp")
        assert (plan.fit is None) == bool(plan.problem)


def test_a_model_that_is_not_here_has_its_size_its_layers_and_its_speed_from_the_rules() -> None:
    plan = planned(ARTICLES)
    assert plan.known is not None
    assert plan.known.origin == "rules"
    assert plan.size_bytes == pytest.approx(6.66e9, rel=0.01)
    assert plan.fit is not None
    assert (plan.fit.gpu_layers, plan.fit.layers) == (48, 48)
    assert plan.fit.tokens_per_second == pytest.approx(45, rel=0.02)
    assert "deepseek-tui pull hf:" in plan.located.hint


def test_what_no_memory_can_hold_names_the_place_that_is_too_small() -> None:
    small = msgspec.structs.replace(machine_named("cpu-only"), ram=Ram(2 * GIB, GIB // 4))
    found = planned("1.5b-q4_k_m", small).fit
    assert found is not None
    assert not found.fits
    assert found.short is found.bytes.ram
    fitting = planned(ARTICLES).fit
    assert fitting is not None
    assert fitting.short is None


def test_options_become_wishes_in_blocks() -> None:
    entry = find(load_catalog(), ARTICLES)
    plan = planned(ARTICLES)
    assert plan.known is not None
    options, shape = options_for(entry.preset, "llama_cpp"), plan.known.shape
    for asked, blocks in ((-1, 48), (0, 0), (1, 0), (29, 28), ("auto", "auto")):
        wishes = wishes_for({**options, "gpu_layers": asked}, shape, MACHINE)
        assert wishes.gpu_layers == blocks
        assert (wishes.context, wishes.kv_cache, wishes.ubatch) == (8192, "q8_0", 512)


def test_what_was_learned_about_a_card_counts_here_and_not_for_machines_elsewhere() -> None:
    name = MACHINE.gpus[0].name
    learned.raise_margin(name, 300 * 1024**2)
    margin = learned.margin_bytes(name)
    assert margin > MARGIN_BYTES
    assert planned(ARTICLES, here=True).fit.bytes.vram.margin == margin  # type: ignore[union-attr]
    assert planned(ARTICLES, here=False).fit.bytes.vram.margin == MARGIN_BYTES  # type: ignore[union-attr]


def test_a_build_for_the_processor_beside_a_card_is_planned_as_it_will_run_and_says_what_is_lost() -> None:
    plan = planned(ARTICLES, card_usable=False)
    assert plan.fit is not None
    assert plan.fit.gpu_layers == 0
    assert "leaves NVIDIA GeForce RTX 3070 idle" in plan.warnings[0]
    assert "48 of 48 layers would be there, for ~45 tokens/s" in plan.warnings[0]


def test_a_measured_speed_takes_the_place_of_the_prediction_while_as_many_layers_fit() -> None:
    def ran(layers: int) -> PresetPlan:
        measured = Measured((Run(23.6, 500),), layers=48, gpu_layers=layers)
        return msgspec.structs.replace(planned(ARTICLES), measured=measured)

    assert ran(48).measured_speed == 23.6
    assert ran(38).measured_speed is None


def test_runs_of_this_machine_are_found_by_the_presets_options() -> None:
    starter = find(load_catalog(), "starter")
    model = locate(parse(starter.preset.backends["llama_cpp"]["source"])).model
    now = Measured((Run(120.0, 500),), layers=30, gpu_layers=30)
    runs.record("llama_cpp", model, options_for(starter.preset, "llama_cpp"), now)
    plan = plan_preset(starter, MACHINE)
    assert plan.measured == now
    assert plan_preset(starter, MACHINE, here=False).measured is None


def test_what_was_measured_on_another_card_is_not_this_ones() -> None:
    starter = find(load_catalog(), "starter")
    model = locate(parse(starter.preset.backends["llama_cpp"]["source"])).model
    now = Measured((Run(120.0, 500),), layers=30, gpu_layers=30, device="NVIDIA GeForce RTX 3070")
    runs.record("llama_cpp", model, options_for(starter.preset, "llama_cpp"), now)
    (card,) = MACHINE.gpus
    for name, kept in (("NVIDIA GeForce RTX 3070", True), ("NVIDIA GeForce RTX 4060", False)):
        swapped = msgspec.structs.replace(card, name=name, driver="nvidia 550.54")
        machine = msgspec.structs.replace(MACHINE, gpus=(swapped,))
        assert (plan_preset(starter, machine).measured is not None) == kept


def test_a_damaged_file_is_told_and_not_planned(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 60)
    text = f"""
title = "Bad"
backend = "llama_cpp"
[model]
family = "DeepSeek-R1-Distill-Qwen-14B"
quantization = "Q3_K_S"
[backends.llama_cpp]
source = "file:{tmp_path}/bad.gguf"
"""
    plan = plan_preset(of(tmp_path, "bad", text), MACHINE)
    assert plan.fit is None
    assert "bad.gguf" in plan.problem


def test_an_other_backend_places_its_model_itself_and_keeps_the_other_columns() -> None:
    plan = planned("8b-q4_k_m", backend="ollama")
    assert plan.fit is None
    assert plan.published is not None


@pytest.mark.parametrize(
    ("speed", "text"), [(45.4, "45"), (9.96, "10.0"), (3.62, "3.6"), (0.31, "0.3"), (0.049, "0.049")]
)
def test_speeds_have_as_many_figures_as_they_deserve(speed: float, text: str) -> None:
    assert rate(speed) == text


def test_a_model_in_parts_is_as_large_as_all_of_them(tmp_path: Path) -> None:
    paths = split(tmp_path)
    text = f'[model]\nfamily = "Mine"\nquantization = "F32"\n[backends.llama_cpp]\nsource = "file:{paths[0]}"\n'
    plan = plan_preset(of(tmp_path, "mine", f'title = "Mine"\nbackend = "llama_cpp"\n{text}'), MACHINE)
    assert plan.size_bytes == sum(path.stat().st_size for path in paths)
