"""The language that the program speaks: texts in English in the code, and their translations in catalogues.

A text is marked where it is shown: `_("Nothing was sent")`, `_("Fetched {size}").format(size=size)`, and with a number
`ngettext("{count} answer", "{count} answers", n).format(count=n)`. One in a constant is marked with `N_` there, and
translated with `_` where it is shown: constants are made before the language is known.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gettext

DOMAIN = "deepseek-tui"
CATALOGUES = Path(__file__).with_name("locale")
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The first of these that is set names the language, as everywhere; LANGUAGE then lists what is liked better."""
_WIDE = {"zh", "ja", "ko"}
_CONSOLE = "linux"
"""TERM of the Linux console, which has no wide characters: they are spoken there only where they are asked for."""


class _Spoken:
    """The catalogue that is spoken from; none before `speak`, and for English."""

    catalogue: gettext.GNUTranslations | None = None
    language: str = "en"


def N_(text: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text for the catalogues, to be translated later."""
    return text


def _(text: str) -> str:
    """Return a text in the language that is spoken."""
    return _Spoken.catalogue.gettext(text) if text and _Spoken.catalogue is not None else text


def ngettext(one: str, many: str, count: int) -> str:
    """Return one of two texts, as its language counts."""
    if _Spoken.catalogue is None:
        return one if count == 1 else many
    return _Spoken.catalogue.ngettext(one, many, count)


def language() -> str:
    """Return the language that is spoken: "en", or the name of a catalogue."""
    return _Spoken.language


def speak(wish: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Speak a language from now on, and return it: `wish`, or what the environment says, or English.

    "zh", "zh_CN" and "zh_CN.UTF-8" all find the catalogue zh_CN.
    """
    found = _chosen(wish, environment)
    if found is None:
        _Spoken.catalogue = None
    else:
        import gettext  # English needs none.

        with found.open("rb") as file:
            _Spoken.catalogue = gettext.GNUTranslations(file)
    _Spoken.language = _name_of(found)
    return _Spoken.language


def would_speak(wish: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Return the language that `speak` would speak."""
    return _name_of(_chosen(wish, environment))


def languages() -> list[str]:
    """Return the languages that there are, English first."""
    return ["en", *sorted(path.parent.parent.name for path in CATALOGUES.glob(f"*/LC_MESSAGES/{DOMAIN}.mo"))]


def known(wish: str) -> bool:
    """Say whether a language that was wished for can be spoken."""
    return _is_english(wish) or _catalogue(wish) is not None


def _chosen(wish: str, environment: Mapping[str, str] | None) -> Path | None:
    return _catalogue(wish) if wish else _of(os.environ if environment is None else environment)


def _name_of(catalogue: Path | None) -> str:
    return "en" if catalogue is None else catalogue.parent.parent.name


def _of(environment: Mapping[str, str]) -> Path | None:
    """Return the catalogue that an environment asks for."""
    named = next((value for name in _VARIABLES if (value := environment.get(name))), "")
    if not _language(named) or named in {"C", "POSIX"}:
        return None
    for liked in (*environment.get("LANGUAGE", "").split(":"), named):
        if _is_english(liked):
            return None
        found = _catalogue(liked)
        if found is not None:
            narrow = environment.get("TERM") == _CONSOLE
            return None if narrow and _language(liked) in _WIDE else found
    return None


def _is_english(named: str) -> bool:
    return _language(named) in {"en", "c", "posix"}


def _language(named: str) -> str:
    """Return the language of a locale's name: "zh" of zh_CN.UTF-8."""
    return named.partition(".")[0].partition("@")[0].replace("-", "_").partition("_")[0].lower()


def _catalogue(named: str) -> Path | None:
    """Return the compiled catalogue for a language: its own, or one of another country."""
    name, language = named.partition(".")[0].partition("@")[0].replace("-", "_"), _language(named)
    if not language.isalpha() or _is_english(named):
        return None
    found = {path.parent.parent.name: path for path in CATALOGUES.glob(f"*/LC_MESSAGES/{DOMAIN}.mo")}
    if name in found:
        return found[name]
    return next((path for key, path in sorted(found.items()) if _language(key) == language), None)
