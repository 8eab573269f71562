"""What `doctor` says of engines and cards: above all of a card that is there and not used."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import Availability
from backends.hardware.displays import Display
from backends.hardware.gpu import Gpu, GpuReading, read_gpus
from backends.hardware.machine import Card, Machine
from backends.hardware.nvidia import Nvidia, NvidiaCard, Tenant, nvidia
from backends.host.launch import HostView
from tests.backends.energy_world import FakeDriver
from tests.backends.kernel_world import machine
from tests.backends.test_shared_libraries import compiled
from tests.tui.checks.conftest import CARD, GIB, Made, named
from tui.checks.cards import cards, hidden
from tui.checks.engines import engines, unusable

CPU_BUILD = Availability(True, "0.3.36", gpu=False)
LLAMA = "backend: llama.cpp"


def broken(detail: str) -> Availability:
    return Availability(False, detail=detail, hint="Install it.")


def test_a_cpu_build_beside_a_card_is_the_first_warning_and_says_what_it_costs(with_card: Made) -> None:
    check = named(engines(with_card(CPU_BUILD)), LLAMA)
    assert (check.state, check.harm, check.fix) == ("warn", "card-idle", "make run")
    # 0.65 of the card's 448 GB/s against 0.7 of the memory's 40 GB/s.
    assert check.found.endswith("The card would be about 10 times faster (predicted from both memories).")


def test_without_a_card_or_with_a_build_for_it_all_is_well(ground: Made, with_card: Made) -> None:
    assert named(engines(ground(engines={"llama_cpp": CPU_BUILD})), LLAMA).state == "ok"
    gpu_build = Availability(True, "0.3.36", gpu=True)
    assert named(engines(with_card(gpu_build)), LLAMA).found == "0.3.36, can use the card"


def test_an_unknown_bandwidth_predicts_nothing(with_card: Made) -> None:
    slow = Machine(gpus=(Card("RTX 3070", 8 * GIB, driver="nvidia 550"),))
    assert "predicted" not in named(engines(with_card(CPU_BUILD, machine=slow)), LLAMA).found


def test_an_amd_card_gets_the_build_for_it_and_a_processors_own_graphics_none(with_card: Made) -> None:
    amd = Machine(gpus=(Card("RX 7600", 8 * GIB, driver="amdgpu"),))
    check = named(engines(with_card(CPU_BUILD, machine=amd)), LLAMA)
    assert check.found == "0.3.36, CPU only: It does not use RX 7600."
    assert check.fix.startswith("CMAKE_ARGS=-DGGML_VULKAN=on ")
    inside = Machine(gpus=(Card("Radeon Graphics", GIB // 2, driver="amdgpu"),))
    assert named(engines(with_card(CPU_BUILD, machine=inside)), LLAMA).state == "ok"


@pytest.fixture
def cuda_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = compiled(tmp_path / "lib", "libggml-cuda.so", "libcudart.so.12").parent
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(folder))


@pytest.mark.usefixtures("cuda_build")
def test_a_driver_too_old_for_the_build_is_told_with_both_versions(driver: FakeDriver, with_card: Made) -> None:
    driver.says("driver 470.256.02\ncuda 11040\n")
    check = named(engines(with_card(CPU_BUILD, nvidia=nvidia())), LLAMA)
    assert "This build needs CUDA 12, and the driver 470.256.02 goes up to CUDA 11.4." in check.found
    assert check.fix.startswith("Update the driver to 525.60 or newer, or: make setup")
    assert check.harm == "card-idle"


@pytest.mark.usefixtures("cuda_build")
def test_a_cuda_build_that_finds_no_card_is_not_called_a_cpu_build(driver: FakeDriver, with_card: Made) -> None:
    driver.says("cuda 12040\n")
    check = named(engines(with_card(CPU_BUILD, nvidia=nvidia())), LLAMA)
    assert "This is a CUDA build (libggml-cuda.so), but it finds no card that it can use." in check.found
    assert check.fix.startswith("nvidia-smi")


@pytest.mark.parametrize(
    ("said", "told", "fix"),
    [
        ("x: libcuda.so.1: cannot open shared object file: No such file", "finds no driver", "sudo ubuntu-drivers"),
        ("x: libcudart.so.12: cannot open shared object file: No such", "run time of CUDA 12", "make setup"),
        ("x: libgomp.so.1: cannot open shared object file: No such file", "need libgomp.so.1", "pip install"),
        ("libstdc++.so.6: version `GLIBCXX_3.4.32' not found", "for a newer system", "pip install"),
        ("Looking at llama_cpp: It ended with status -4: ", "instructions that this processor", "pip install"),
        ("Something else.", "Something else.", "Install it."),
    ],
)
def test_what_a_loader_complains_of_is_said_in_plain_words(said: str, told: str, fix: str) -> None:
    what, mends = unusable("llama_cpp", broken(said))
    assert told in what
    assert fix in mends


def test_no_engine_at_all_fails_and_one_that_nobody_needs_may_be_missing(ground: Made) -> None:
    missing = {"llama_cpp": broken("It is broken."), "ollama": broken("Nothing listens there.")}
    llama, ollama, failure = engines(ground(engines=missing))
    assert (llama.state, llama.harm) == ("warn", "server-off")
    assert (ollama.state, ollama.fix) == ("ok", "Install it.")
    assert (failure.state, failure.found, failure.harm) == ("fail", "no engine can be used", "no-engine")


def test_an_engine_that_a_preset_needs_may_not_be_missing(home: Path, ground: Made) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text('extends = "8b-q4_k_m"\nbackend = "ollama"\n')
    found = ground(engines={"ollama": broken("Not here.")})
    assert named(engines(found), "backend: Ollama").state == "warn"


def test_a_hanging_driver_is_a_warning_and_no_card_is_none(ground: Made) -> None:
    (hanging,) = cards(ground(cards=GpuReading(problem="The graphics driver has not answered for 4 s.")))
    assert (hanging.state, hanging.harm) == ("warn", "card-idle")
    (absent,) = cards(ground(cards=GpuReading(problem="No graphics card found: there is no driver.")))
    assert absent.state == "ok"


@pytest.mark.parametrize(
    ("module", "told", "fix"),
    [
        ("", "it has no driver", "sudo ubuntu-drivers install"),
        ("nouveau", "nouveau runs it, which cannot compute", "sudo ubuntu-drivers install"),
        ("nvidia", "in a container, start it with the card", "nvidia-smi"),
    ],
)
def test_a_card_in_the_slot_without_its_driver_is_seen(ground: Made, module: str, told: str, fix: str) -> None:
    none = GpuReading(problem="No graphics card found: there is no driver.")
    (check,) = cards(ground(cards=none, displays=(Display("Intel", "i915"), Display("NVIDIA", module))))
    assert (check.state, check.harm) == ("warn", "card-idle")
    assert told in check.found
    assert check.fix.startswith(fix)


def test_who_holds_the_cards_memory_is_named_here_and_counted_for_strangers(driver: FakeDriver, ground: Made) -> None:
    driver.says(f"free0 {5 << 30}\ngraphics0 4242 {1 << 30}\ncompute0 77 {2 << 30}\n")
    world = ground(cards=read_gpus(), nvidia=nvidia())
    machine(world.root, {"proc/77/comm": "ollama\n", "proc/4242/comm": "Xorg\n"})
    check = named(cards(world), "card 0 memory")
    assert check.found == "3.2 GB of 8.6 GB are held by others: ollama (77) 2.1 GB, Xorg (4242) 1.1 GB"
    assert check.public == "3.2 GB of 8.6 GB are held by others: 2 programs"
    assert "ollama stop MODEL" in check.fix
    ours = HostView("key", world.root, 77, None, None)
    mine = ground(cards=read_gpus(), nvidia=nvidia(), hosts=(ours,))
    assert [check.name for check in cards(mine)] == ["card 0"]


def test_a_cards_slowness_errors_and_slices_are_warnings(ground: Made) -> None:
    slowed = Gpu(0, "RTX 3070", 8 * GIB, 0, 8 * GIB, driver="nvidia 550", throttled=("hot", "power limit"))
    told = Nvidia("550", (12, 4), (NvidiaCard(0, (), faults=2, in_slices=True),))
    found = list(cards(ground(cards=GpuReading((slowed,)), nvidia=told)))
    assert named(found, "card 0").found == "RTX 3070, 8.6 GB of 8.6 GB free, nvidia 550, CUDA up to 12.4"
    assert named(found, "card 0 speed").found == "slowed now by: hot"
    assert named(found, "card 0 errors").found.startswith("2 memory errors")
    assert named(found, "card 0 slices").state == "warn"


def test_slices_are_told_once_and_what_else_is_wrong_beside_them(driver: FakeDriver, ground: Made) -> None:
    driver.says("sliced0 1\n")
    found = list(cards(ground(cards=read_gpus(), nvidia=nvidia())))
    assert [check.name for check in found] == ["card 0", "card 0 slices"]
    driver.says("sliced0 1\nname0 999\n")
    found = list(cards(ground(cards=read_gpus(), nvidia=nvidia())))
    assert named(found, "cards").found == "GPU 0: its name cannot be read."


def test_a_card_that_works_at_its_power_limit_is_in_order(ground: Made) -> None:
    working = Gpu(0, "RTX 3070", 8 * GIB, 0, 8 * GIB, driver="nvidia 550", throttled=("power limit",))
    assert [check.state for check in cards(ground(cards=GpuReading((working,))))] == ["ok"]


def test_memory_errors_and_tenants_come_from_the_driver(driver: FakeDriver) -> None:
    driver.says("ecc0 3\ncuda 13000\ncompute0 5 -1\n")
    found = nvidia()
    assert found is not None
    assert (found.cuda, found.cards[0].faults) == ((13, 0), 3)
    assert found.cards[0].tenants == (Tenant(5, None),)


def test_in_wsl2_no_error_is_not_a_fit(with_card: Made) -> None:
    check = named(cards(with_card(machine=Machine(wsl2=True))), "card memory")
    assert (check.state, check.harm) == ("warn", "spills")
    assert "Prefer No Sysmem Fallback" in check.fix


def test_a_variable_that_hides_every_card_is_found() -> None:
    reading = GpuReading((CARD,))
    (check,) = hidden({"CUDA_VISIBLE_DEVICES": ""}, reading)
    assert (check.harm, check.fix) == ("card-idle", "unset CUDA_VISIBLE_DEVICES")
    assert not list(hidden({"CUDA_VISIBLE_DEVICES": "0"}, reading))
    assert not list(hidden({}, reading))


@pytest.mark.gpu
def test_a_true_driver_tells_its_cuda_and_who_is_on_the_card() -> None:
    found = nvidia()
    assert found is not None
    assert found.cuda is not None
    assert found.cuda >= (11, 0)
    assert found.cards
    assert found.driver
