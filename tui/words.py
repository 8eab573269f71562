"""The language that the program speaks: texts in English in the code, and their translations in catalogues.

A text is marked where it is shown: `_("Nothing was sent")`, `_("Fetched {size}").format(size=size)`, and with a number
`ngettext("{count} answer", "{count} answers", n).format(count=n)`. One in a constant is marked with `N_` there, and
translated with `_` where it is shown: constants are made before the language is known.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Mapping
from pathlib import Path

DOMAIN = "deepseek-tui"
CATALOGUES = Path(__file__).with_name("locale")
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The first of these that is set names the language, as everywhere."""


class _Spoken:
    """The catalogue that is spoken from; none before `speak`, and for English."""

    catalogue: gettext.NullTranslations = gettext.NullTranslations()
    language: str = "en"


def N_(text: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text for the catalogues, to be translated later."""
    return text


def _(text: str) -> str:
    """Return a text in the language that is spoken."""
    return _Spoken.catalogue.gettext(text) if text else ""


def ngettext(one: str, many: str, count: int) -> str:
    """Return one of two texts, as its language counts."""
    return _Spoken.catalogue.ngettext(one, many, count)


def language() -> str:
    """Return the language that is spoken: "en", or the name of a catalogue."""
    return _Spoken.language


def speak(wish: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Speak a language from now on, and return it: `wish`, or what the environment says, or English.

    "zh", "zh_CN" and "zh_CN.UTF-8" all find the catalogue zh_CN.
    """
    environment = os.environ if environment is None else environment
    named = wish or next((value for name in _VARIABLES if (value := environment.get(name))), "")
    found = _catalogue(named)
    if found is None:
        _Spoken.catalogue, _Spoken.language = gettext.NullTranslations(), "en"
    else:
        with found.open("rb") as file:
            _Spoken.catalogue = gettext.GNUTranslations(file)
        _Spoken.language = found.parent.parent.name
    return _Spoken.language


def languages() -> list[str]:
    """Return the languages that there are, English first."""
    return ["en", *sorted(path.parent.parent.name for path in CATALOGUES.glob(f"*/LC_MESSAGES/{DOMAIN}.mo"))]


def _catalogue(named: str) -> Path | None:
    """Return the compiled catalogue for a language: its own, or one of another country."""
    name = named.partition(".")[0].partition("@")[0].replace("-", "_")
    language = name.partition("_")[0]
    if not language.isalpha() or language.lower() in {"en", "c", "posix"}:
        return None
    found = {path.parent.parent.name: path for path in CATALOGUES.glob(f"*/LC_MESSAGES/{DOMAIN}.mo")}
    if name in found:
        return found[name]
    return next((path for key, path in sorted(found.items()) if key.partition("_")[0] == language.lower()), None)
