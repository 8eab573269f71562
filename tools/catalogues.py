"""The catalogues of other languages kept up with the code: `make catalogues`, or with NEW=xx a new one begun.

Texts that are marked in the code are collected, put into every catalogue beside their translations, and compiled.
A text that was changed is a new one: no translation is guessed.
"""

from __future__ import annotations

import datetime
import io
import sys
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "tui" / "locale"
DOMAIN = "deepseek-tui"
_FOLDERS = ("tui",)
_KEYWORDS = {"_": None, "N_": None, "ngettext": (1, 2)}
_LEFT_OUT = tuple(
    f'"{name}'.encode()
    for name in (
        "Project-Id-Version", "POT-Creation-Date", "PO-Revision-Date", "Last-Translator", "Language-Team",
        "Generated-By", "Report-Msgid-Bugs-To",
    )
)  # fmt: skip
"""Dates and names in the header: they would make every run a change."""
_NO_DATE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
_HEADER = "# Texts of deepseek-tui. `make catalogues` keeps them up with the code; translations are written here.\n#"


def marked() -> Catalog:
    """Return every text that is marked in the code, with the files where it stands."""
    found = Catalog()
    for folder in _FOLDERS:
        texts = extract_from_dir(
            ROOT / folder, [("**.py", "python")], keywords=_KEYWORDS, comment_tags=("Translators:",)
        )
        for file, _line, text, comments, context in sorted(texts, key=lambda one: (one[0], one[1])):
            found.add(text, locations=[(f"{folder}/{file}", 0)], auto_comments=comments, context=context)
    return found


def languages() -> list[str]:
    """Return the languages that have a catalogue."""
    return sorted(path.parent.parent.name for path in LOCALE.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))


def source(language: str) -> Path:
    """Return where the translations into a language are written."""
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def read(language: str) -> Catalog:
    """Return a catalogue as it is written."""
    with source(language).open("rb") as file:
        return read_po(file, locale=language)


def updated(language: str) -> Catalog:
    """Return a catalogue with every marked text, and none that is not marked any more."""
    known = read(language) if source(language).exists() else Catalog(locale=language)
    fresh = Catalog(locale=language, header_comment=_HEADER, fuzzy=False)
    for message in marked():
        if not message.id:
            continue
        before = known.get(message.id)
        string = before.string if before is not None and not before.fuzzy else message.string
        own = before.user_comments if before is not None else ()
        fresh.add(message.id, string, message.locations, auto_comments=message.auto_comments, user_comments=own)
    return fresh


def texts(catalogue: Catalog) -> tuple[bytes, bytes]:
    """Return a catalogue as it is written, and compiled. The same texts are the same bytes."""
    written, compiled = io.BytesIO(), io.BytesIO()
    write_po(written, catalogue, width=120, include_lineno=False, omit_header=False)
    lines = [line for line in written.getvalue().splitlines() if not line.startswith(_LEFT_OUT)]
    dated = read_po(io.BytesIO(b"\n".join(lines)), locale=str(catalogue.locale))
    dated.creation_date = dated.revision_date = _NO_DATE
    write_mo(compiled, dated)
    return b"\n".join(lines) + b"\n", compiled.getvalue()


def main(new: str = "") -> None:
    """Bring every catalogue up to date, and begin that of `new`."""
    for language in sorted({*languages(), *([new] if new else [])}):
        catalogue = updated(language)
        written, compiled = texts(catalogue)
        path = source(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(written)
        path.with_suffix(".mo").write_bytes(compiled)
        missing = sum(_is_missing(message) for message in catalogue if message.id)
        print(f"{language}: {len(catalogue)} texts, {missing} without a translation ({path.relative_to(ROOT)})")


def _is_missing(message: Message) -> bool:
    string = message.string
    return not (string if isinstance(string, str) else string and all(string))


if __name__ == "__main__":
    main(*sys.argv[1:2])
