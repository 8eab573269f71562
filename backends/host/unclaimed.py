"""Energy that no answer had: a model that was loaded and not asked. A small file, until somebody opens the store.

The host cannot write into the store, which belongs to its clients. The name of the file is the name of the receipt, so
that taking it in twice counts it once.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from backends import paths
from backends.events import Energy

LEAST_J = 1.0
"""What a host uses merely by being there is on no receipt."""


class Unclaimed(msgspec.Struct, frozen=True):
    """What a host used for nobody. `at` is when it ended, in Unix seconds; `load_s` the seconds of its loading."""

    id: str
    at: float
    preset: str
    backend: str
    model: str
    load_s: float | None
    energy: Energy


def leave(preset: str, backend: str, model: str, load_s: float | None, energy: Energy | None) -> None:
    """Keep what was used, if it is worth a line. What the disk refuses is lost."""
    if energy is None or energy.joules < LEAST_J:
        return
    one = Unclaimed(os.urandom(12).hex(), time.time(), preset, backend, model, load_s, energy)
    with contextlib.suppress(OSError):
        path = paths.private(_folder()) / f"{one.id}.json"
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(one))
        temporary.replace(path)


def waiting() -> list[Unclaimed]:
    """Return what was left; files that cannot be read are passed over."""
    found = []
    try:
        files = sorted(_folder().glob("*.json"))
    except OSError:
        return []
    for path in files:
        with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
            one = msgspec.json.decode(path.read_bytes(), type=Unclaimed)
            if one.id == path.stem:
                found.append(one)
    return found


def forget(one: Unclaimed) -> None:
    """Delete the file of what was taken in."""
    with contextlib.suppress(OSError):
        (_folder() / f"{one.id}.json").unlink(missing_ok=True)


def _folder() -> Path:
    return paths.state() / "unclaimed"
