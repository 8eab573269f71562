"""Machines to plan for without owning them: the reference machines that come with us, and files of the user's own."""

from __future__ import annotations

import difflib
import stat
from pathlib import Path

from backends.hardware.machine import Machine
from backends.shown import printable, shown_path
from presets.machine_files import MachineError, from_toml

FOLDER = Path(__file__).with_name("machines")
MAX_BYTES = 64 * 1024


def machine_names() -> tuple[str, ...]:
    """Return the names of the reference machines, in order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def machine_named(name_or_path: str) -> Machine:
    """Return a reference machine by its name, or the one in a file (ends in .toml, or has a / in it).

    Raises MachineError.
    """
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        path = Path(name_or_path).expanduser()
        return from_toml(_text(path), path)
    names = machine_names()
    if name_or_path in names:
        path = FOLDER / f"{name_or_path}.toml"
        return from_toml(_text(path), path)
    near = difflib.get_close_matches(name_or_path.casefold(), names, 2, 0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names)}; or name a .toml file."
    raise MachineError(printable(name_or_path) or '""', "there is no machine of this name", hint=hint)


def _text(path: Path) -> str:
    shown = shown_path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise MachineError(shown, "not a file")
        with path.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise MachineError(shown, f"cannot be read: {reason}") from error
    if len(data) > MAX_BYTES:
        raise MachineError(shown, f"larger than {MAX_BYTES // 1024} KB", hint="Is it a machine?")
    try:
        # Some editors begin a file with a byte order mark, which TOML does not know.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MachineError(shown, "not UTF-8 text", line=line, hint="Save the file with UTF-8 encoding.") from error
