"""Energy that no answer had: of a model that was loaded and not asked, of an engine that went on after Stop.

A small file keeps it until somebody opens the store.

The host cannot write into the store, which belongs to its clients. The name of the file is the name of the receipt, so
that taking it in twice counts it once.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from backends import atomic, paths
from backends.events import DeviceEnergy, Energy

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


def beyond(whole: Energy | None, told: Energy | None) -> Energy | None:
    """Return what of `whole` is not in `told`: what an engine used after its answer was closed."""
    if whole is None or told is None:
        return whole
    known = {(one.device, one.source): one for one in told.devices}
    devices = tuple(_less(one, known.get((one.device, one.source))) for one in whole.devices)
    joules = round(sum(device.joules for device in devices), 6)
    return msgspec.structs.replace(whole, joules=joules, idle_joules=None, devices=devices)


def _less(one: DeviceEnergy, told: DeviceEnergy | None) -> DeviceEnergy:
    if told is None:
        return one
    phases = ("load_j", "settle_j", "prefill_j", "decode_j")
    left = {name: round(max(0.0, getattr(one, name) - getattr(told, name)), 6) for name in phases}
    return msgspec.structs.replace(one, idle_j=None, missing_s=max(0.0, one.missing_s - told.missing_s), **left)


def leave(preset: str, backend: str, model: str, load_s: float | None, energy: Energy | None) -> None:
    """Keep what was used, if it is worth a line. What the disk refuses is lost."""
    if energy is None or energy.joules < LEAST_J:
        return
    one = Unclaimed(os.urandom(12).hex(), time.time(), preset, backend, model, load_s, energy)
    with contextlib.suppress(OSError):
        atomic.replace(paths.private(_folder()) / f"{one.id}.json", msgspec.json.encode(one))


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
