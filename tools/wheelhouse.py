"""Engine wheels built on this machine, kept outside the checkout: the second set-up takes no build.

One folder per key holds one wheel. A folder appears whole (it is renamed into place) or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backends import paths

CPUINFO = Path("/proc/cpuinfo")


def folder() -> Path:
    """Return the folder that holds every kept wheel, created if need be."""
    place = paths.cache() / "wheels"
    place.mkdir(parents=True, exist_ok=True)
    return place


def cpu_flags(cpuinfo: Path = CPUINFO) -> str:
    """Return the instruction sets of this processor: a native build runs nowhere else for sure."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return platform.processor()
    for row in text.splitlines():
        name, _, value = row.partition(":")
        if name.strip() in {"flags", "Features"}:
            return " ".join(sorted(value.split()))
    return platform.processor()


def key(version: str, variant: str, *facts: str) -> str:
    """Return the folder name of a build: engine version, variant, machine, and a hash of all else that shapes it.

    `facts` are what the variant adds: compiler, cards, build options. pip's own cache knows none of these.
    """
    shaped_by = (cpu_flags(), *platform.libc_ver(), *facts)
    digest = hashlib.sha256("\0".join(shaped_by).encode()).hexdigest()[:12]
    return f"{version}-{variant}-{platform.machine()}-{digest}"


def find(name: str) -> Path | None:
    """Return the kept wheel of this key, None if there is none or it is damaged."""
    for wheel in sorted((folder() / name).glob("*.whl")):
        if zipfile.is_zipfile(wheel):
            return wheel
    return None


def keep(name: str, make: Callable[[Path], Path], waiting: Callable[[], None]) -> Path:
    """Return the kept wheel of this key; if there is none, `make` it and keep it.

    `make` gets an empty scratch folder and returns the wheel that it left there. Of two at once one builds, and the
    other calls `waiting` and takes the result.
    """
    house = folder()
    with locked(house / f"{name}.lock", waiting):
        found = find(name)
        if found:
            return found
        for leftover in house.glob(f".{name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=house))
        try:
            wheel = make(scratch)
            whole = scratch / "whole"
            whole.mkdir()
            wheel.rename(whole / wheel.name)
            shutil.rmtree(house / name, ignore_errors=True)
            whole.rename(house / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return house / name / wheel.name


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold `path` alone. If another process holds it, call `waiting` once and wait. Ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
