"""How a card is doing: through the real NVML binding on a driver of our own, and AMD on folders like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.hardware.gpu import read_gpus
from backends.hardware.gpu_condition import Condition, of_amd, throttled
from tests import fake_driver
from tests.backends.energy_world import FakeDriver

FIELDS = ("busy", "watts", "watts_limit", "celsius", "throttled")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def driver(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return FakeDriver(library, tmp_path, monkeypatch)


def condition(tmp_path: Path) -> tuple[object, ...]:
    reading = read_gpus(drm=tmp_path / "none")
    assert reading.problem == ""
    return tuple(getattr(reading.gpus[0], field) for field in FIELDS)


def test_a_card_tells_how_it_is_doing(driver: FakeDriver, tmp_path: Path) -> None:
    driver.says("busy0 87\npower0 181500\nlimit0 220000\ncelsius0 71\nreasons0 0x04\n")
    assert condition(tmp_path) == (0.87, 181.5, 220.0, 71.0, ("power limit",))


def test_what_a_card_does_not_support_is_unknown_and_no_problem(driver: FakeDriver, tmp_path: Path) -> None:
    assert condition(tmp_path) == (None, None, None, None, ())


def test_one_figure_that_fails_costs_no_other(driver: FakeDriver, tmp_path: Path) -> None:
    driver.says("busy0 0\npower0 9000\npowerrc0 999\nlimit0 220000\nlimitrc0 4\ncelsius0 30\nreasons0 1\n")
    assert condition(tmp_path) == (0.0, None, None, 30.0, ())


def test_a_driver_that_knows_only_the_old_name_is_asked_by_it(driver: FakeDriver, tmp_path: Path) -> None:
    driver.says("reasonsrc0 13\noldreasons0 0x40\n")
    assert condition(tmp_path)[-1] == ("hot",)


@pytest.mark.parametrize(
    ("reasons", "phrases"),
    [
        (0x00, ()),
        (0x01 | 0x02, ()),
        (0x04, ("power limit",)),
        (0x08, ("hardware slowdown",)),
        (0x08 | 0x40, ("hot",)),
        (0x20 | 0x40, ("hot",)),
        (0x08 | 0x80, ("power brake",)),
        (0x10 | 0x100, ("sync boost", "display clocks")),
        (0x04 | 0x20, ("power limit", "hot")),
        (1 << 40, ()),
    ],
)
def test_reasons_are_told_in_words(reasons: int, phrases: tuple[str, ...]) -> None:
    assert throttled(reasons) == phrases


def amd(folder: Path, **files: str) -> Path:
    sensors = folder / "hwmon/hwmon4"
    sensors.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name if name.startswith("gpu_") else sensors / name).write_text(f"{text}\n")
    return folder


def test_an_amd_card_tells_how_it_is_doing(tmp_path: Path) -> None:
    files = {"gpu_busy_percent": "40", "power1_average": "99000000", "power1_cap": "250000000", "temp1_input": "61000"}
    assert of_amd(amd(tmp_path, **files)) == Condition(0.4, 99.0, 250.0, 61.0)


def test_an_amd_card_may_tell_its_momentary_power_or_nothing(tmp_path: Path) -> None:
    assert of_amd(tmp_path) == Condition()
    assert of_amd(amd(tmp_path, power1_input="7000000", temp1_input="?")) == Condition(watts=7.0)


def test_an_amd_card_that_sleeps_is_not_woken(tmp_path: Path) -> None:
    amd(tmp_path, power1_input="7000000")
    (tmp_path / "power").mkdir()
    (tmp_path / "power/runtime_status").write_text("suspended\n")
    assert of_amd(tmp_path) == Condition()
