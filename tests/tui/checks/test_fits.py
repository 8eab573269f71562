"""`doctor` on what the presets need of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from backends.base import Availability
from backends.hardware.memory import Ram
from backends.host.launch import HostView
from presets.catalog import load_catalog
from presets.reference import machine_named
from tests.gguf_files import QWEN_32B, sparse_model
from tests.own_presets import own_preset
from tests.tui.checks.conftest import GIB, Made
from tui.checks.fits import fits

MACHINE = machine_named("rtx3070-8gb-32gb")
SHORT = msgspec.structs.replace(MACHINE, ram=Ram(8 * GIB, 4 * GIB))


def mine(home: Path, model: Path, **options: object) -> None:
    own_preset(home, "secret-32b", model, quantization="Q3_K_S", context=4096, kv_cache="q8_0", **options)


def test_a_machine_that_holds_every_preset_is_in_order(ground: Made) -> None:
    (found,) = fits(ground(machine=MACHINE))
    assert found.state == "ok"
    assert "14b-q3_k_s-offload" in found.found
    assert "5 presets fit" in found.public


def test_a_model_that_is_here_and_streams_from_the_disk_is_a_warning_with_what_a_token_reads(
    ground: Made, home: Path, tmp_path: Path
) -> None:
    mine(home, sparse_model(tmp_path / "32b.gguf", QWEN_32B, "Q3_K_S", small_vocabulary=True))
    checks = list(fits(ground(machine=SHORT, catalog=load_catalog())))
    (warned,) = (check for check in checks if check.state == "warn")
    assert warned.harm == "memory-short"
    assert "secret-32b: it needs 7.8 GB of main memory and 4.3 GB are available: each token reads" in warned.found
    assert "deepseek-tui plan secret-32b" in warned.fix
    assert "secret" not in warned.public


def test_a_model_that_is_not_here_is_told_about_and_no_warning(ground: Made) -> None:
    checks = list(fits(ground(machine=SHORT)))
    (told,) = (check for check in checks if "32b" in check.found)
    assert (told.state, told.harm) == ("ok", "none")
    assert "not downloaded, and it needs 7.8 GB of main memory" in told.found


def test_layers_that_were_asked_for_and_do_not_fit_the_card_are_a_warning(
    ground: Made, home: Path, tmp_path: Path
) -> None:
    mine(home, sparse_model(tmp_path / "32b.gguf", QWEN_32B, "Q3_K_S", small_vocabulary=True), gpu_layers=60)
    checks = list(fits(ground(machine=MACHINE, catalog=load_catalog())))
    (warned,) = (check for check in checks if check.state == "warn")
    assert "of the card and 8.2 GB are free" in warned.found


def test_a_model_of_ours_that_is_loaded_makes_room_for_the_next(ground: Made, home: Path, tmp_path: Path) -> None:
    mine(home, sparse_model(tmp_path / "32b.gguf", QWEN_32B, "Q3_K_S", small_vocabulary=True), gpu_layers=30)
    (card,) = SHORT.gpus
    full = msgspec.structs.replace(card, free_bytes=GIB, others_bytes=GIB // 2)
    taken = msgspec.structs.replace(SHORT, gpus=(full,))
    world = ground(machine=taken, catalog=load_catalog())
    assert {check.state for check in fits(world)} == {"ok", "warn"}
    pages = 5 * GIB // os.sysconf("SC_PAGE_SIZE")
    (world.root / "proc/77").mkdir(parents=True)
    (world.root / "proc/77/statm").write_text(f"{3 * pages} {2 * pages} {pages} 1 0 1 0\n")
    ours = HostView("key", world.root, 77, None, None)
    (check,) = fits(msgspec.structs.replace(world, hosts=(ours,)))
    assert check.state == "ok"
    assert "secret-32b" in check.found


def test_a_build_for_the_processor_alone_needs_all_of_it_in_main_memory(ground: Made) -> None:
    engines = {"llama_cpp": Availability(ready=True, gpu=False)}
    checks = list(fits(ground(machine=msgspec.structs.replace(MACHINE, ram=Ram(16 * GIB, 10 * GIB)), engines=engines)))
    told = {check.found.split(":")[0] for check in checks if "not downloaded" in check.found}
    assert told == {"32b-mixed-ssd"}
