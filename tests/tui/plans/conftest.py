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

MACHINE = machine_named("rtx3070-8gb-32gb")
Mine = Callable[..., PresetEntry]


def with_free(free_bytes: int, machine: Machine = MACHINE) -> Machine:
    """Return a machine on whose card so much is free."""
    card = msgspec.structs.replace(machine.gpus[0], free_bytes=free_bytes)
    return msgspec.structs.replace(machine, gpus=(card,))


@pytest.fixture
def mine(home: Path) -> Mine:
    """Write a preset, with options as TOML has them, and return it."""

    def write(**options: str) -> PresetEntry:
        file = home / "14b.gguf"
        if not file.exists():
            sparse_model(file, QWEN_14B, "Q4_K_M", small_vocabulary=True)
        folder = home / "config" / "presets"
        folder.mkdir(parents=True, exist_ok=True)
        lines = "\n".join(f"{key} = {value}" for key, value in options.items())
        (folder / "mine.toml").write_text(
            'title = "14B of mine"\nslot = 2\nbackend = "llama_cpp"\ncontext = 8192\n'
            '[model]\nfamily = "DeepSeek-R1-Distill-Qwen-14B"\nquantization = "Q4_K_M"\n'
            f'[backends.llama_cpp]\nsource = "file:{file}"\n{lines}\n'
        )
        return find(load_catalog(), "mine")

    return write
