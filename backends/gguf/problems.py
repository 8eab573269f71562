"""What can be wrong with a GGUF file, told with file, fault and the byte where it lies."""

from __future__ import annotations

from backends.errors import BadModelFile
from backends.shown import printable

DAMAGED = "The model file is damaged or incomplete"
UNREADABLE = "The model file cannot be read"
FETCH_AGAIN = "Fetch the file again and compare its size with the publisher's."


class BadGguf(BadModelFile):
    """A file that is no GGUF model, or a damaged one.

    `file` is its name as the caller gave it, `what` the fault in a sentence, `offset` the byte where it lies, None
    where it has no place, and `missing_bytes` how much of the tensors is not there, 0 where that is not the fault.
    """

    def __init__(
        self,
        file: str,
        what: str,
        offset: int | None = None,
        *,
        title: str = DAMAGED,
        hint: str = FETCH_AGAIN,
        missing_bytes: int = 0,
    ) -> None:
        self.file = file
        self.what = what
        self.offset = offset
        self.missing_bytes = missing_bytes
        place = "" if offset is None else f" (at byte {offset})"
        super().__init__(title, f"{printable(file, 4096)}: {what}{place}", hint)
