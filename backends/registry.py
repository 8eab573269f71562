"""Which backends there are: entry points in the group "deepseek_tui.backends".

Built-ins take the same way in as plug-ins. Listing names imports nothing of them.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import EntryPoint, distribution, entry_points
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from backends import paths
from backends.base import Availability, Backend
from backends.errors import ErrorInfo, NotInstalled, ServerUnreachable, from_info
from backends.version import build_id

GROUP = "deepseek_tui.backends"
PROBE_TIMEOUT_S = 30.0
START_TIMEOUT_S = 60.0
IMPORT_TIMEOUT_S = 15.0
KILLED_S = 1.0
_DRIVER = Path("/proc/driver/nvidia/version")
_WSL_DRIVER = Path("/usr/lib/wsl/lib/libnvidia-ml.so.1")


class Place(NamedTuple):
    """The package that brings a backend. `plugin` is False for our own; `hides` are others of the same name."""

    package: str
    version: str
    plugin: bool
    hides: tuple[str, ...]


@functools.cache
def _entries() -> dict[str, list[EntryPoint]]:
    """Return the entry points of each name, ours first: no package takes the place of a built-in."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, not _ours(e), e.value)):
        others = found.setdefault(entry.name, [])
        if entry.value not in [other.value for other in others]:
            others.append(entry)
    return found


def _ours(entry: EntryPoint) -> bool:
    return entry.value.startswith("backends.") and (entry.dist is None or entry.dist.name == "deepseek-tui")


def names() -> tuple[str, ...]:
    """Return the names of all installed backends, sorted."""
    return tuple(_entries())


def place(name: str) -> Place | None:
    """Say where an installed backend comes from, without importing anything of it; None for an unknown one."""
    entries = _entries().get(name)
    if entries is None:
        return None
    first = entries[0]
    others = [entry.dist.name if entry.dist is not None else entry.value for entry in entries[1:]]
    package, version = (first.dist.name, first.dist.version) if first.dist is not None else (first.value, "")
    return Place(package, version, not _ours(first), tuple(others))


@functools.cache
def find(name: str) -> type[Backend]:
    """Import and return a backend's class. Raises NotInstalled if it is unknown or its module cannot be imported."""
    entries = _entries().get(name)
    if entries is None:
        near = difflib.get_close_matches(name, names(), 1)
        raise NotInstalled(
            f"There is no backend called {name!r}",
            f"Installed are: {', '.join(names()) or 'none'}.",
            f"Did you mean {near[0]!r}?" if near else "A plug-in that brings it may have to be installed.",
        )
    entry = entries[0]
    try:
        # What a plug-in prints must not get between the lines of a screen.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            found = entry.load()
    except (Exception, SystemExit) as error:
        raise NotInstalled(
            f"The backend {name!r} cannot be imported",
            f"{entry.value}: {type(error).__name__}: {error}",
            "Reinstall or remove the package that brings it.",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise NotInstalled(
            f"The backend {name!r} is not a backend",
            f"{entry.value} is no class derived from backends.base.Backend.",
            "Tell the author of the package that brings it.",
        )
    return found


def options_type(name: str) -> type[msgspec.Struct]:
    """Return what a preset may say about a backend. Raises NotInstalled.

    A plug-in is imported in a child process first: one that crashes or hangs must not take this one with it.
    """
    where = place(name)
    if where is not None and where.plugin:
        found = _kept("import", name, IMPORT_TIMEOUT_S)
        if not found.ready:
            raise NotInstalled(f"The backend {name!r} cannot be imported", found.detail, found.hint)
    return find(name).Options


def takes_memory(name: str) -> bool:
    """Say whether a backend's models take memory of this machine; one that cannot be asked is taken to."""
    try:
        options_type(name)  # a plug-in that crashes or hangs must not take this process with it
        return find(name).takes_memory
    except NotInstalled:
        return True


def probe(name: str, timeout_s: float = PROBE_TIMEOUT_S, options: dict[str, Any] | None = None) -> Availability:
    """Ask a backend, in a short-lived child process, whether it can work here; with a preset's `options`, for these.

    The child may import an engine, hang or crash; the caller gets an answer all the same.
    A ready answer that lasts is kept in the cache folder until a version changes; one about options never is.
    """
    if options is not None:
        return _asked("check", name, timeout_s, msgspec.json.encode(options).decode())
    return _kept("check", name, timeout_s)


def start(name: str, options: dict[str, Any], timeout_s: float = START_TIMEOUT_S) -> None:
    """Start the server that a backend needs for these options, in a child process. Raises BackendError."""
    said, why = _ask_child(["start", name, msgspec.json.encode(options).decode()], timeout_s)
    try:
        error = msgspec.json.decode(said, type=ErrorInfo | None)
    except msgspec.MsgspecError:
        raise ServerUnreachable(f"What {name} needs could not be started", why, "Start it yourself.") from None
    if error is not None:
        raise from_info(error)


def _kept(what: str, name: str, timeout_s: float) -> Availability:
    """Return the answer that is in the cache, else ask; one that is ready and lasts is kept."""
    cached, stamp = _cache_file(name, what), _stamp(name)
    try:
        kept = msgspec.json.decode(cached.read_bytes(), type=dict[str, Availability])
    except (OSError, msgspec.MsgspecError):
        kept = {}
    if stamp in kept:
        return kept[stamp]
    answer = _asked(what, name, timeout_s)
    if answer.ready and answer.lasting:
        try:
            paths.private(cached.parent)
            temporary = cached.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(msgspec.json.encode({stamp: answer}))
            temporary.replace(cached)
        except OSError:
            pass  # The cache only saves time.
    return answer


def _asked(what: str, name: str, timeout_s: float, *options: str) -> Availability:
    said, why = _ask_child([what, name, *options], timeout_s)
    try:
        return msgspec.json.decode(said, type=Availability)
    except msgspec.MsgspecError:
        hanging = why.startswith("It took")
        hint = "A driver may hang; `nvidia-smi` shows whether it answers." if hanging else ""
        return Availability(ready=False, detail=f"Looking at {name}: {why}", hint=hint or "Reinstall its package.")


def _ask_child(arguments: list[str], timeout_s: float) -> tuple[bytes, str]:
    """Return the last line that the probe's child says, and how it ended."""
    command = [sys.executable, "-P", "-m", "backends.probe", *arguments]
    # Files and not pipes: a child of the child that hangs in a driver would keep a pipe open for ever.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/", start_new_session=True
        )
        try:
            status = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # Inside a driver even this may not end it.
                child.wait(KILLED_S)
            return b"", f"It took more than {timeout_s:g} s."
        out.seek(0)
        err.seek(0)
        said, complained = out.read(), err.read()
    tail = complained.decode(errors="replace").strip().splitlines()[-1:]
    lines = said.splitlines()
    return lines[-1] if lines else b"", f"It ended with status {status}: {''.join(tail)}"


def _cache_file(name: str, what: str = "check") -> Path:
    return paths.cache() / "probes" / (f"{name}.json" if what == "check" else f"{name}-{what}.json")


def _stamp(name: str) -> str:
    """Name everything whose change can change a probe's answer: our code, the plug-in, the engine, the driver."""
    where = place(name)
    parts = [build_id(), sys.prefix]
    if where is not None:
        parts.append(f"{where.package} {where.version}")
    parts += [_build_of(engine) for engine in ("llama-cpp-python", "exllamav2", "ollama")]
    return json.dumps([*parts, _driver()])


def _build_of(package: str) -> str:
    """Name one installed build of a package: those for the processor and for a card have the same version."""
    try:
        found = distribution(package)
    except ModuleNotFoundError:
        return f"no {package}"
    record = (found.read_text("RECORD") or "").encode()
    return f"{package} {found.version} {hashlib.blake2b(record, digest_size=8).hexdigest()}"


def _driver() -> str:
    """Name the NVIDIA driver: Linux tells its version, of WSL's there is only the library that Windows puts there."""
    try:
        return _DRIVER.read_text(errors="replace").partition("\n")[0]
    except OSError:
        pass
    try:
        return f"WSL {_WSL_DRIVER.stat().st_mtime_ns}"
    except OSError:
        return "no driver"
