"""`doctor` says which language is spoken, and warns of one that there is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.checks.language import language


def set_to(home: Path, wish: str) -> None:
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "config.toml").write_text(f'language = "{wish}"\n')


def test_the_language_of_the_system_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    (check,) = language()
    assert (check.state, check.found) == ("ok", "zh_CN (there are en, zh_CN)")


def test_an_unknown_one_is_told_with_those_that_there_are(home: Path) -> None:
    set_to(home, "tlh")
    (check,) = language()
    assert (check.state, check.found) == ("warn", "there is no catalogue for 'tlh': English is spoken")
    assert "en, zh_CN" in check.fix


def test_settings_that_cannot_be_read_are_another_checks_matter(home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text("language = 3\n")
    assert list(language()) == []
