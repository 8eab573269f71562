"""The text that models are measured on: Newton's Opticks, which is shipped, or a file of the user's."""

from __future__ import annotations

import hashlib
from pathlib import Path

from backends.errors import BackendError, ModelNotFound
from backends.quality.figures import Text
from backends.shown import printable, shown_path

SHIPPED = Path(__file__).with_name("text") / "opticks.txt"
SHIPPED_NAME = "Newton's Opticks"
MOST_BYTES = 16 * 1024**2
"""Of a longer text only the beginning is taken: it makes more chunks than anybody waits for."""


def read(path: str) -> tuple[Text, str]:
    """Return what a text is called with its hash, and the text itself; "" is the one that is shipped.

    Raises ModelNotFound where there is no such file, BackendError where it cannot be read or is no text.
    """
    file = Path(path) if path else SHIPPED
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFound("The text is not there", shown_path(file), "Name a file that is.") from error
    except OSError as error:
        what = f"{shown_path(file)}: {error.strerror or error}"
        raise BackendError("The text cannot be read", what, "Name a text file that you may read.") from error
    try:
        text = data.decode("utf-8") if len(data) < MOST_BYTES else data.decode("utf-8", "ignore")
    except UnicodeDecodeError as error:
        where = f"{shown_path(file)} is not UTF-8 at byte {error.start:,}."
        raise BackendError("This is no plain text", where, "Save it as UTF-8, without anything but text.") from error
    if "\0" in text:
        raise BackendError("This is no plain text", f"{shown_path(file)} has zero bytes.", "Name a text file.")
    name = printable(file.name) if path else SHIPPED_NAME
    return Text(name, f"sha256:{hashlib.sha256(data).hexdigest()}"), text
