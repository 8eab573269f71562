"""A preset of the user's with a 14B of its true size, and the machine that plans are made for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from backends.hardware.machine import Machine
from presets.catalog import find, load_catalog
from presets.reference import machine_named
from presets.schema import PresetEntry
from tests.gguf_files import QWEN_14B, sparse_model
from tests.own_presets import own_preset

MACHINE = machine_named("rtx3070-8gb-32gb")
Mine = Callable[..., PresetEntry]


def with_free(free_bytes: int, machine: Machine = MACHINE) -> Machine:
    """Return a machine on whose card so much is free."""
    card = msgspec.structs.replace(machine.gpus[0], free_bytes=free_bytes)
    return msgspec.structs.replace(machine, gpus=(card,))


@pytest.fixture
def mine(home: Path) -> Mine:
    """Write a preset with options of its backend, and return it."""

    def write(**options: object) -> PresetEntry:
        file = home / "14b.gguf"
        if not file.exists():
            sparse_model(file, QWEN_14B, "Q4_K_M", small_vocabulary=True)
        own_preset(home, "mine", file, title="14B of mine", slot=2, **options)
        return find(load_catalog(), "mine")

    return write
