"""What can be wrong with a preset, told with file, line, key and the nearest match."""

from __future__ import annotations

import re
from pathlib import Path

from backends.errors import Problem
from backends.shown import printable, shown_path
from presets.toml_lines import Key

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class PresetError(Problem):
    """A preset that cannot be used as it stands.

    `name` is the preset, `what` the fault in a few words, `key` its dotted key ("" where no key is at fault),
    `line` counts from 1 and is None where it cannot be told.
    """

    def __init__(
        self,
        name: str,
        what: str,
        *,
        path: Key = (),
        note: str = "",
        hint: str = "",
        file: Path | None = None,
        line: int | None = None,
    ) -> None:
        self.name = name
        self.what = what
        self.path = path
        self.key = dotted(path)
        self.note = note
        self.file = file
        self.line = line
        place = shown_path(file) if file else ""
        if place and line:
            place += f", line {line}"
        detail = ": ".join(part for part in (place, self.key, note) if part)
        super().__init__(f"Preset {printable(name)}: {what}", detail, hint)

    def at(self, file: Path, line: int | None) -> PresetError:
        """Return the same fault with the place where it was found."""
        return PresetError(self.name, self.what, path=self.path, note=self.note, hint=self.hint, file=file, line=line)


def dotted(path: Key) -> str:
    """Write a key's path as TOML does, with quotes where they are needed."""
    import json  # A problem is seldom.

    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(printable(part)) for part in path)
