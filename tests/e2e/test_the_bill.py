"""The footer, the view that explains it and the monthly bill, beside a card whose power is known."""

from __future__ import annotations

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import fake_driver

WATTS = 120.0
CARD = (
    "cards 1\ntotal0 8000000000\nfree0 2300000000\ntext0 RTX 3070\ndriver 550.54\nprocesses 3\n"
    f"epoch 0\nprofile0 0 {WATTS} 1000000000 {WATTS}\nbusy0 97\ncelsius0 71\nlimit0 220000\nreasons0 4\n"
)
WORDS = " ".join(f"word{number}" for number in range(150))


@pytest.fixture
def card(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine whose card draws 120 W all the time."""
    return fake_driver.environment(tmp_path / "driver", CARD)


def usage(*arguments: str) -> Any:
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "tui", "usage", "--json", *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


def receipts(home: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(f"file:{home / 'data' / 'chats.sqlite3'}?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM receipt")]


def test_the_footer_tells_money_and_energy_while_the_answer_is_written_and_after_it(terminal, echo, card) -> None:
    echo(text=WORDS, tokens_per_second=40)
    screen = terminal("-p", "demo", **card)
    screen.ask("hello")
    screen.see(r"~\$0\.\d{4} · ~?\d[\d.]* m?Wh │ saving|~<\$0\.\d{4} · ~?\d[\d.]* m?Wh │ saving")
    screen.see(r"\$0\.\d{4} · ~?\d[\d.]* m?Wh │ saved")


def test_f9_says_of_every_figure_what_it_is_and_where_it_is_from(terminal, echo, card) -> None:
    echo(text=WORDS, tokens_per_second=80)
    screen = terminal("-p", "demo", **card)
    screen.ask("hello")
    screen.see("saved")
    screen.press("f9")
    text = screen.see("Esc closes")
    seen = [text]
    for _ in range(8):
        screen.press("\x1b[6~")
        seen.append(screen.see("figure"))
    whole = "\n".join(seen)
    for name in ("Model", "VRAM", "VRAM ours", "Speed", "Context", "Cost", "Energy", "Chat", "Saved", "RAM", "SSD"):
        assert name in whole
    assert "NVML energy counter" in whole
    assert "assumed 0.30 USD/kWh: set [bill] price_per_kwh" in whole
    assert "97%" in whole
    assert "120 W of at most 220 W" in whole
    assert "71 °C" in whole
    assert "power limit" in whole
    assert "measured" in whole
    screen.press("u")
    screen.see("Usage: tokens, energy, money")
    screen.press("esc")
    screen.press("esc")
    screen.see("Ask anything")


def test_the_monthly_bill_adds_up_to_the_last_joule_from_its_receipts(terminal, echo, card, home: Path) -> None:
    echo(text=WORDS, tokens_per_second=200)
    screen = terminal("-p", "demo", **card)
    for number in range(3):
        screen.ask(f"question {number}")
        screen.see(rf"(?s)question {number}.*word149.*saved")
        screen.press("^n")
    screen.leave()
    taken = receipts(home)
    assert len(taken) == 3
    total = usage()["total"]
    assert round(total["energy_j"] * 1e6) == sum(one["energy_uj"] for one in taken)
    for by in ("day", "preset", "backend", "chat"):
        found = usage("--by", by)
        assert sum(round(row["energy_j"] * 1e6) for row in found["rows"]) == round(found["total"]["energy_j"] * 1e6)
        assert found["total"]["energy_j"] == total["energy_j"]
    cost = sum(round(one["amount"] * 1e9) for one in total["cost"])
    assert cost == sum(one["money_nano"] for one in taken)
    # And the joules are those of the card: so many watts for so many seconds.
    for one in taken:
        devices = json.loads(one["energy"])["devices"]
        (gpu,) = [device for device in devices if device["device"].startswith("GPU")]
        assert gpu["decode_j"] == pytest.approx(WATTS * one["decode_s"], rel=0.1, abs=3)


def test_what_a_killed_engine_used_is_on_the_bill(terminal, echo, card, hosts, home: Path) -> None:
    echo(text=WORDS, tokens_per_second=20)
    screen = terminal("-p", "demo", **card)
    screen.ask("hello")
    screen.see("word60", 30)
    for pid in hosts():
        os.kill(pid, signal.SIGKILL)
    screen.see("its process ended")
    screen.leave()
    (one,) = receipts(home)
    assert one["energy_uj"] > WATTS * 1e6
    assert one["output_tokens"] >= 50
    assert math.isclose(one["energy_uj"] / 1e6, json.loads(one["energy"])["joules"], abs_tol=1e-6)


def test_a_card_that_is_lost_in_the_middle_costs_no_answer_and_is_told(terminal, echo, card) -> None:
    echo(text=WORDS, tokens_per_second=30)
    screen = terminal("-p", "demo", **card)
    screen.ask("hello")
    screen.see("word30", 30)
    fake_driver.tell(card, CARD + "energyrc0 15\npowerrc0 15\nmemory0 15\n")
    screen.see("(?s)word149.*saved", 30)
    screen.see("VRAM –")
    screen.press("f9")
    seen = [screen.see("Esc closes")]
    for _ in range(8):
        screen.press("\x1b[6~")
        seen.append(screen.text)
    assert "nothing is known" in "\n".join(seen)
    assert "lost" in "\n".join(seen)


def test_a_driver_that_hangs_freezes_nothing(terminal, echo, card) -> None:
    echo(text=WORDS, tokens_per_second=60)
    screen = terminal("-p", "demo", **card)
    screen.ask("hello")
    screen.see("word5")
    fake_driver.tell(card, CARD + "hang 60\nhangenergy 60\nhangpower 60\n")
    screen.see("(?s)word149.*saved", 20)
    screen.ask("still there?")
    screen.see("(?s)still there.*word149.*saved", 20)
    screen.press("f9")
    screen.see("Every figure explained", 3)
    screen.see("has not answered for", 10)
    fake_driver.tell(card, CARD)
