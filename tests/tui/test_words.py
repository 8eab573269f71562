"""The program's languages: which one is spoken, and that every catalogue is as the code is."""

from __future__ import annotations

import gettext
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from babel.messages import Message

from tools import catalogues
from tui import words

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = catalogues.languages()
MAKE = "`make catalogues` brings it up to date"


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    yield
    words.speak("en")


@pytest.mark.parametrize(
    ("wish", "environment", "spoken"),
    [
        ("", {}, "en"),
        ("", {"LANG": "C.UTF-8"}, "en"),
        ("", {"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ("", {"LANG": "zh_SG.UTF-8"}, "zh_CN"),
        ("", {"LANG": "de_DE.UTF-8", "LC_ALL": "zh_CN.UTF-8"}, "zh_CN"),
        ("", {"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ("", {"LANG": "de_DE.UTF-8"}, "en"),
        ("", {"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, "zh_CN"),
        ("", {"LANG": "zh_CN.UTF-8", "LANGUAGE": "en_GB:zh_CN"}, "en"),
        ("", {"LANG": "C", "LANGUAGE": "zh_CN"}, "en"),
        ("", {"LANG": "zh_CN.UTF-8", "TERM": "linux"}, "en"),
        ("zh", {"LANG": "en_US.UTF-8", "TERM": "linux"}, "zh_CN"),
        ("zh-CN", {}, "zh_CN"),
        ("zh_CN.UTF-8", {}, "zh_CN"),
        ("en", {"LANG": "zh_CN.UTF-8"}, "en"),
        ("tlh", {"LANG": "zh_CN.UTF-8"}, "en"),
        ("../../etc", {}, "en"),
        ("", {"LANG": "\x1b[2J"}, "en"),
    ],
)
def test_the_language_is_that_of_the_wish_or_of_the_environment(
    wish: str, environment: dict[str, str], spoken: str
) -> None:
    assert words.speak(wish, environment) == spoken == words.language()


def test_an_unknown_language_is_known_to_be_none() -> None:
    assert [words.known(name) for name in ("zh", "en", "C", "tlh", "../x")] == [True, True, True, False, False]


def test_a_text_is_said_in_the_language_that_is_spoken_and_in_english_again() -> None:
    words.speak("zh")
    assert words._("Stopped. {again}") != "Stopped. {again}"
    assert words._("a text that nobody has translated") == "a text that nobody has translated"
    words.speak("en")
    assert words._("Stopped. {again}") == "Stopped. {again}"


def test_numbers_are_counted_as_the_language_counts() -> None:
    one, many = "Summarising {count} message", "Summarising {count} messages"
    assert [words.ngettext(one, many, count) for count in (1, 2)] == [one, many]
    words.speak("zh")
    assert words.ngettext(one, many, 1) == words.ngettext(one, many, 2) != one


def test_there_is_english_and_chinese() -> None:
    assert words.languages() == ["en", *LANGUAGES]
    assert "zh_CN" in LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_has_every_text_and_is_compiled(language: str) -> None:
    written = {message.id: message.string for message in catalogues.read(language) if message.id}
    assert written == {message.id: message.string for message in catalogues.updated(language) if message.id}, MAKE
    with catalogues.source(language).with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for text, translation in written.items():
        if isinstance(text, str):
            assert compiled.gettext(text) == (translation or text), MAKE
        else:
            counted = [compiled.ngettext(*text, number) for number in (1, 2, 5)]
            assert set(counted) <= {*translation, *text}, MAKE
            assert all(translation) is not bool(set(counted) & set(text)), MAKE


@pytest.mark.parametrize("language", LANGUAGES)
def test_nearly_every_text_of_a_catalogue_is_translated(language: str) -> None:
    texts = [message for message in catalogues.read(language) if message.id]
    missing = [message.id for message in texts if not all(forms(message.string))]
    assert len(missing) <= len(texts) // 20, missing


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_of_a_catalogue_is_guessed(language: str) -> None:
    assert [message.id for message in catalogues.read(language) if message.fuzzy] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_places_the_marks_and_the_ends_of_its_text(language: str) -> None:
    wrong = [message.id for message in catalogues.read(language) if message.id and not is_faithful(message)]
    assert wrong == []


def test_the_installed_package_has_its_catalogues(tmp_path: Path) -> None:
    building = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(building, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for language in LANGUAGES:
        assert {f"tui/locale/{language}/LC_MESSAGES/deepseek-tui.{end}" for end in ("po", "mo")} <= names


def forms(string: object) -> list[str]:
    return [string] if isinstance(string, str) else list(string)  # type: ignore[call-overload]


def is_faithful(message: Message) -> bool:
    """Say whether a translation, where there is one, keeps what is filled in, blanks at the ends, and line breaks."""
    asked = forms(message.id)
    places = {frozenset(fields(text)) for text in asked}
    for text in filter(None, forms(message.string)):
        same_ends = any(
            (text[:1] == " ", text[-1:] == " ", text.count("\n")) == (one[:1] == " ", one[-1:] == " ", one.count("\n"))
            for one in asked
        )
        if frozenset(fields(text)) not in places or not same_ends:
            return False
    return True


def fields(text: str) -> set[str]:
    return {name for _literal, name, _spec, _conversion in Formatter().parse(text) if name is not None}
