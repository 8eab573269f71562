"""A chat exported at a key: the branch that is shown, as Markdown, into the folder where the program was started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tui.chat.exporting import export, export_file
from tui.chat.exporting.markdown import markdown
from tui.chat.storing.store import Store

_MOST = 1000


def folders() -> Iterator[Path]:
    """Yield where to write, the best place first."""
    with contextlib.suppress(FileNotFoundError):  # It may have been deleted under us.
        yield Path.cwd()
    yield Path.home()


def export_here(store: Store, conversation: str, places: Sequence[Path]) -> Path:
    """Write a chat into the first of `places` that can be written, never over a file; return its path.

    Raises Problem.
    """
    one = export.branch(export.gather(store, conversation))
    text = markdown(one, thoughts=False)
    folder = next((place for place in places if os.access(place, os.W_OK | os.X_OK)), places[-1])
    first = folder / export_file.file_name(one.chat, "md", set())
    names = (first if number == 1 else first.with_name(f"{first.stem}-{number}.md") for number in range(1, _MOST))
    target = next((name for name in names if not os.path.lexists(name)), first)
    export_file.write(target, [text])
    return target
