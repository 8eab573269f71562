"""The screen beside a graphics card: a stand-in for the driver's library, so that the true binding reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import fake_driver


@pytest.fixture
def card(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with one card of 8 GB, 2.1 of it in use."""
    says = "cards 1\ntotal0 8000000000\nfree0 5900000000\ntext0 RTX 3070\ndriver 550.54\n"
    return fake_driver.environment(tmp_path / "driver", says)


def test_the_footer_shows_the_cards_memory(terminal, echo, card: dict[str, str]) -> None:
    echo(text="hello " * 200, tokens_per_second=100)
    screen = terminal("-p", "demo", **card)
    screen.ask("hello")
    screen.see(r"VRAM ▕.*▏ [\d.+~]*2\.1/8\.0 GB")
    Path(card["FAKE_NVML"]).write_text("cards 1\ntotal0 8000000000\nfree0 700000000\ntext0 RTX 3070\ndriver 550.54\n")
    screen.see(r"VRAM ▕.*▏ (0\.0\+7\.3|~5\.2\+2\.1)/8\.0 GB")


def test_an_engine_for_the_cpu_beside_a_card_is_told(terminal, card: dict[str, str]) -> None:
    screen = terminal("-p", "starter", **card)
    screen.see("uses only the CPU", 40)
    screen.see("make run")


def test_a_driver_that_does_not_match_leaves_a_dash(terminal, echo, card: dict[str, str]) -> None:
    Path(card["FAKE_NVML"]).write_text("init 18\n")
    echo(text="hello")
    screen = terminal("-p", "demo", **card)
    screen.ask("hello")
    screen.see("saved")
    screen.see("VRAM –")
