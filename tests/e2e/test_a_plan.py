"""The plan in a real terminal beside a stand-in for the driver: the sidebar and F8 follow what others take."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from backends import paths, registry
from backends.base import Availability
from tests import fake_driver
from tests.gguf_files import QWEN_14B, sparse_model
from tests.own_presets import own_preset

SAYS = "cards 1\ntext0 NVIDIA GeForce RTX 4060\ntotal0 8589934592\nfree0 {}\ncompute0 {}\n"
GB = 10**9


@pytest.fixture
def card(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with one card of 8 GiB, nobody on it but its driver."""
    return fake_driver.environment(tmp_path / "driver", SAYS.format(8 * GB, "1 0"))


@pytest.fixture
def mine(home: Path) -> None:
    """A 14B of the user's on F6, of its true size, and an engine that is known to use cards."""
    file = sparse_model(home / "14b.gguf", QWEN_14B, "Q4_K_M", small_vocabulary=True)
    own_preset(home, "mine", file, title="14B of mine", slot=5)
    kept = registry._cache_file("llama_cpp")
    paths.private(kept.parent)
    kept.write_bytes(msgspec.json.encode({registry._stamp("llama_cpp"): Availability(ready=True, gpu=True)}))


def layers(text: str) -> int:
    found = re.search(r"(\d+)/48", text)
    assert found
    return int(found[1])


def test_the_plan_follows_what_others_take(terminal, echo, mine: None, card: dict[str, str]) -> None:
    echo(slot=6, text="hello")
    screen = terminal("-p", "demo", **card)
    alone = layers(screen.see(r"\d+/48 layers · 7\.\d GB"))
    fake_driver.tell(card, SAYS.format(5 * GB, f"1234 {3 * GB}"))
    crowded = layers(screen.see(r"\d+/48 layers · 4\.\d GB"))
    assert 0 < crowded < alone
    screen.press("f8", "f6")
    screen.see(r"14B of mine · llama\.cpp")
    shown = screen.see(r"VRAM ▕█+▓+▒+░+▐+.*▏ 4\.\d GB of 8\.6 GB")
    assert re.search(rf"layers on the card +{crowded}/48", shown)
    assert "others' 3.6 GB" in shown
    screen.read(0.5)
    sent = len(screen.raw)
    screen.read(2.0)
    assert len(screen.raw) - sent < 1000, "nothing happens, and at most a line about the memory is sent"
    fake_driver.tell(card, SAYS.format(8 * GB, "1 0"))
    screen.see(rf"layers on the card +{alone}/48")
    screen.press("esc")
    screen.see(rf"{alone}/48 layers")
    screen.leave()
