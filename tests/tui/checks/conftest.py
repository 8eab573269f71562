"""Machines to check: a ground of made-up figures, and a driver that tells its CUDA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.base import Availability
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.machine import Card, Machine
from backends.hardware.speed import Speed
from presets.catalog import load_catalog
from tests import fake_driver
from tests.backends.energy_world import FakeDriver
from tui.checks.check import Check
from tui.checks.ground import Ground

GIB = 1 << 30
CARD = Gpu(0, "RTX 3070", 8 * GIB, 300 << 20, 8 * GIB - (300 << 20), driver="nvidia 550.54")
PLANNED = Card("RTX 3070", 8 * GIB, 7 * GIB, driver="nvidia 550.54", bandwidth=Speed(448 * 10**9, "published"))

Made = Callable[..., Ground]


@pytest.fixture
def ground(tmp_path: Path) -> Made:
    """`ground(machine=…)` is a machine with the built-in presets and nothing else; its root is an empty folder."""

    def make(**given: Any) -> Ground:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        return Ground(**{"root": root, "folder": tmp_path / "models", "catalog": load_catalog(), **given})

    return make


@pytest.fixture
def with_card(ground: Made) -> Made:
    """The same with an NVIDIA card and llama.cpp as `found`."""

    def make(found: Availability | None = None, **given: Any) -> Ground:
        machine = Machine(gpus=(PLANNED,), bandwidth=Speed(40 * 10**9, "measured"))
        engines = {} if found is None else {"llama_cpp": found}
        return ground(**{"machine": machine, "cards": GpuReading((CARD,)), "engines": engines, **given})

    return make


@pytest.fixture(scope="session")
def cuda_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_driver.build(tmp_path_factory.mktemp("cuda nvml"), Path(__file__).with_name("cuda_nvml.c"))


@pytest.fixture
def driver(cuda_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """A driver in this very process, with one card."""
    return FakeDriver(cuda_library, tmp_path, monkeypatch)


def named(checks: Any, name: str) -> Check:
    """Return the only check of this name."""
    (found,) = [check for check in checks if check.name == name]
    return found
