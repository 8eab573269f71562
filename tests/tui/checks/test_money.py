"""What `doctor` says about energy and money."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backends.energy import survey as surveying
from backends.energy.source import Opened, Opening
from backends.energy.survey import Found, survey
from tui.checks import money


def test_each_device_is_named_with_how_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Found("GPU 0 RTX 3070", "NVML energy counter", True), Found("CPU", "CPU time at 65 W")]
    monkeypatch.setattr(money, "survey", lambda: found)
    card, processor = money.energy()
    assert (card.name, card.state, card.found) == ("energy: GPU 0 RTX 3070", "ok", "measured, NVML energy counter")
    assert (processor.state, processor.found) == ("ok", "estimated, CPU time at 65 W")


def test_what_only_root_may_read_is_a_warning_with_the_command_that_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = Found("processor", problem="Only root may read it.", remedy="sudo chmod o+r it")
    silent = Found("nvidia", problem="There is no driver.")
    monkeypatch.setattr(money, "survey", lambda: [silent, denied])
    (check,) = money.energy()
    assert (check.state, check.found, check.fix) == ("warn", "Only root may read it.", "sudo chmod o+r it")


def test_a_driver_that_hangs_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang() -> Opened:
        time.sleep(30)
        return Opened()

    def broken() -> Opened:
        raise RuntimeError("no such thing")

    openings = (Opening("nvidia", "the driver does not answer", hang), Opening("drm", "", broken))
    monkeypatch.setattr(surveying, "openings_of", lambda _root, _place: openings)
    started = time.monotonic()
    silent, failed = survey(patience_s=0.2)
    assert time.monotonic() - started < 5
    assert silent.problem == "The driver does not answer."
    assert "no such thing" in failed.problem


def test_an_assumed_tariff_is_called_so_and_says_where_to_set_it(home: Path) -> None:
    (check,) = money.tariff()
    assert check.found.startswith("0.3 USD per kWh is assumed; yours: [bill] price_per_kwh in ")
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text('[bill]\nprice_per_kwh = 0.34\ncurrency = "EUR"\n')
    (check,) = money.tariff()
    assert check.found == "0.34 EUR per kWh"
