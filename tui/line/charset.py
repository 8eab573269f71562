"""The characters that a terminal shows: those of the encoding that the locale names, the rest drawn with ASCII.

`C` and `POSIX` name none: headless machines have them, and the terminal at the other end takes UTF-8.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Final

from rich.cells import cell_len

UTF8: Final = "utf-8"
AS_ASCII: Final = "deepseek-tui-ascii"
"""The name of the handler of errors that draws with ASCII."""
_STATEFUL: Final = ("iso2022", "hz", "utf-7", "punycode", "idna", "unicode", "raw")
_VARIABLES: Final = ("LC_ALL", "LC_CTYPE", "LANG")
_LIKE: Final = str.maketrans(
    "─━═│┃║╭╮╰╯┌┐└┘┏┓┗┛├┤┬┴┼▎▌▏▕█▒▓░●◆▸▾▼▲▶◀•·…–—→←↑↓⟹“”‘’×‹›✓✗√≤≥≠≈∞",
    "--=|||+++++++++++++++++||||#:#.**>vv^><*..--><^v>\"\"''x<>vxV<>!~8",
)


@cache
def encoding_of(locale: str) -> str:
    """Return Python's name of the encoding that a locale like de_DE.ISO-8859-1 names; UTF-8 if it names none."""
    named = locale.partition(".")[2].partition("@")[0]
    try:
        name = codecs.lookup(named).name if named else UTF8
        "a\x1b".encode(name)
    except (LookupError, ValueError, UnicodeError, TypeError):
        return UTF8
    # What is no superset of ASCII is no encoding of a terminal.
    return name if _is_ascii_in(name) and not name.startswith(_STATEFUL) else UTF8


def encoding(environment: Mapping[str, str]) -> str:
    """Return the encoding of the terminal: of the first variable that is set, as everywhere."""
    return encoding_of(next((value for name in _VARIABLES if (value := environment.get(name))), ""))


def _is_ascii_in(name: str) -> bool:
    ascii_ = "".join(map(chr, range(128)))
    try:
        return ascii_.encode(name) == ascii_.encode()
    except UnicodeError:
        return False


def _drawn(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_like, error.object[error.start : error.end])), error.end


def _like(character: str) -> str:
    """Return ASCII in the place of a character, in as many cells."""
    drawn = character.translate(_LIKE)
    if drawn.isascii():
        return drawn
    cells = cell_len(character)
    plain = unicodedata.normalize("NFKD", character)[:1]
    return plain if cells == 1 and plain.isascii() and plain.isprintable() else "?" * cells


codecs.register_error(AS_ASCII, _drawn)
