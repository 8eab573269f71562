"""The question of an `ask`: its words, and what comes through a pipe."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Sequence

from backends.errors import Problem
from tui.commands import output

MAX_BYTES = 8 * 1024 * 1024
"""JSON may write a byte as six, and a line to a host has at most 64 MiB."""

_PATIENCE_S = 2.0
_CHUNK = 64 * 1024


def read(words: Sequence[str]) -> str:
    """Return the words, then a blank line and standard input if a `-` is among them or something is piped in.

    Returns "" if there is neither. Raises Problem for what is no UTF-8 text or too long.
    """
    text = " ".join(word for word in words if word != "-")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _not_text("The question") from error
    if "-" in words or _piped():
        added = _standard_input()
        text = "\n\n".join(part for part in (text, added) if part.strip())
    return text if text.strip() else ""


def _piped() -> bool:
    """Say whether somebody gives standard input: a pipe, a file or a socket, but no terminal and no device."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _standard_input() -> str:
    data = bytearray()
    told = False
    while True:
        if not told and not select.select([0], [], [], _PATIENCE_S)[0]:
            told = True
            output.warn("waiting for the end of standard input (Ctrl+D; or give it </dev/null)")
        try:
            chunk = os.read(0, _CHUNK)
        except OSError as error:
            raise Problem("Standard input cannot be read", error.strerror or str(error)) from error
        if not chunk:
            break
        data += chunk
        if len(data) > MAX_BYTES:
            raise Problem(
                "Standard input is too long",
                f"It has more than {MAX_BYTES // (1024 * 1024)} MiB, and no model reads that much.",
                "Give only the part that matters, for example with head or grep.",
            )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _not_text("Standard input", f"Byte {error.start + 1}, in line {line}, is none. ") from error


def _not_text(what: str, where: str = "") -> Problem:
    encoding = sys.stdin.encoding if sys.stdin is not None else "utf-8"
    return Problem(
        f"{what} is not UTF-8 text",
        f"{where}This terminal says that it writes {encoding}.",
        "Convert it, for example with: iconv -f latin1 -t utf-8",
    )
