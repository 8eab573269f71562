"""Which backends there are: entry points in the group "deepseek_tui.backends".

Built-ins take the same way in as plug-ins. Listing names imports nothing of them.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import EntryPoint, distribution, entry_points
from pathlib import Path
from typing import Any

import msgspec

from backends import paths
from backends.base import Availability, Backend
from backends.errors import ErrorInfo, NotInstalled, ServerUnreachable, from_info
from backends.version import build_id

GROUP = "deepseek_tui.backends"
PROBE_TIMEOUT_S = 30.0
START_TIMEOUT_S = 60.0
KILLED_S = 1.0
_DRIVER = Path("/proc/driver/nvidia/version")
_WSL_DRIVER = Path("/usr/lib/wsl/lib/libnvidia-ml.so.1")


@functools.cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def names() -> tuple[str, ...]:
    """Return the names of all installed backends, sorted."""
    return tuple(_entries())


@functools.cache
def find(name: str) -> type[Backend]:
    """Import and return a backend's class. Raises NotInstalled if it is unknown or its module cannot be imported."""
    entry = _entries().get(name)
    if entry is None:
        near = difflib.get_close_matches(name, names(), 1)
        raise NotInstalled(
            f"There is no backend called {name!r}",
            f"Installed are: {', '.join(names()) or 'none'}.",
            f"Did you mean {near[0]!r}?" if near else "A plug-in that brings it may have to be installed.",
        )
    try:
        found = entry.load()
    except Exception as error:  # A plug-in may raise anything while it is imported.
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
    """Return what a preset may say about a backend. Raises NotInstalled."""
    return find(name).Options


def probe(name: str, timeout_s: float = PROBE_TIMEOUT_S, options: dict[str, Any] | None = None) -> Availability:
    """Ask a backend, in a short-lived child process, whether it can work here; with a preset's `options`, for these.

    The child may import an engine, hang or crash; the caller gets an answer all the same.
    A ready answer that lasts is kept in the cache folder until a version changes; one about options never is.
    """
    if options is not None:
        return _checked(name, timeout_s, msgspec.json.encode(options).decode())
    cached, stamp = _cache_file(name), _stamp(name)
    try:
        kept = msgspec.json.decode(cached.read_bytes(), type=dict[str, Availability])
    except (OSError, msgspec.MsgspecError):
        kept = {}
    if stamp in kept:
        return kept[stamp]
    answer = _checked(name, timeout_s)
    if answer.ready and answer.lasting:
        try:
            paths.private(cached.parent)
            temporary = cached.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(msgspec.json.encode({stamp: answer}))
            temporary.replace(cached)
        except OSError:
            pass  # The cache only saves time.
    return answer


def start(name: str, options: dict[str, Any], timeout_s: float = START_TIMEOUT_S) -> None:
    """Start the server that a backend needs for these options, in a child process. Raises BackendError."""
    said, why = _ask_child(["start", name, msgspec.json.encode(options).decode()], timeout_s)
    try:
        error = msgspec.json.decode(said, type=ErrorInfo | None)
    except msgspec.MsgspecError:
        raise ServerUnreachable(f"What {name} needs could not be started", why, "Start it yourself.") from None
    if error is not None:
        raise from_info(error)


def _checked(name: str, timeout_s: float, *options: str) -> Availability:
    said, why = _ask_child(["check", name, *options], timeout_s)
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


def _cache_file(name: str) -> Path:
    return paths.cache() / "probes" / f"{name}.json"


def _stamp(name: str) -> str:
    """Name everything whose change can change a probe's answer: our code, the plug-in, the engine, the driver."""
    entry = _entries().get(name)
    parts = [build_id(), sys.prefix]
    if entry is not None and entry.dist is not None:
        parts.append(f"{entry.dist.name} {entry.dist.version}")
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
