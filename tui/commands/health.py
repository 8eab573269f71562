"""What `doctor` looks at: each check says what it found, and the command that mends it. None of them raises."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from backends import paths, registry
from backends.errors import Problem
from backends.hardware.gpu import GpuReading
from backends.hardware.memory import ram
from backends.hardware.sampler import HANGS_AFTER_S, GpuSampler
from backends.host.launch import HostView
from backends.shown import shown_path
from backends.titles import backend_title
from backends.version import VERSION, build_id
from presets.catalog import Catalog
from presets.schema import source_for
from presets.sources import locate, parse
from tui import terminal
from tui.chat.store import Store
from tui.commands import table
from tui.settings import load_settings, settings_file

State = Literal["ok", "warn", "fail"]
_ALWAYS = ("llama_cpp",)  # it comes with the installation
LITTLE_MEMORY = 1_500_000_000
SOCKET_PATH = 100
"""Bytes of a socket's path that every system takes: Linux allows 107, macOS 103."""


class Check(msgspec.Struct, frozen=True):
    """One look: `found` says what there is, `fix` how to mend it where it is not "ok"."""

    name: str
    state: State
    found: str
    fix: str = ""


def folders() -> Iterator[Check]:
    """Where everything is kept must be writable, and private."""
    for name, folder in (
        ("conversations", paths.data()),
        ("state", paths.state()),
        ("settings", paths.config()),
        ("cache", paths.cache()),
    ):
        yield _folder(f"folder: {name}", folder, needed=name in {"conversations", "state"})


def _folder(name: str, folder: Path, *, needed: bool) -> Check:
    bad: State = "fail" if needed else "warn"
    shown, named = shown_path(folder), shlex.quote(str(folder))
    try:
        paths.private(folder)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
        info = folder.stat()
    except OSError as error:
        fix = f"Check the owner and the free space: ls -ld {named}; df -h {named}"
        return Check(name, bad, f"{shown}: {error.strerror or error}", fix)
    if info.st_uid != os.getuid():
        return Check(name, "warn", f"{shown} belongs to another user", f"sudo chown -R {os.getuid()} {named}")
    if stat.S_IMODE(info.st_mode) & 0o077:
        return Check(name, "warn", f"{shown} can be read by others", f"chmod 700 {named}")
    return Check(name, "ok", f"{shown} is writable and private")


def database() -> Iterator[Check]:
    """The conversations must open."""
    try:
        with contextlib.closing(Store()) as store:
            chats = store.count()
    except Problem as problem:
        yield Check("conversations", "fail", str(problem), problem.hint)
    else:
        counted = f"{chats} {'chat' if chats == 1 else 'chats'}"
        yield Check("conversations", "ok", f"{counted}; SQLite {sqlite3.sqlite_version}")


def settings() -> Iterator[Check]:
    """The settings must be readable."""
    try:
        load_settings()
    except Problem as problem:
        yield Check("settings", "fail", problem.detail, problem.hint or f"Edit {shown_path(settings_file())}")
    else:
        there = settings_file().exists()
        yield Check("settings", "ok", shown_path(settings_file()) if there else "none; the defaults are used")


def sockets() -> Iterator[Check]:
    """A host's socket must be reachable, however long the home folder's path is."""
    length = len(os.fsencode(paths.hosts())) + len("/0123456789abcdef/socket")
    if length < SOCKET_PATH:
        yield Check("socket path", "ok", f"{length} bytes")
    elif Path("/proc/self/fd").is_dir():
        yield Check("socket path", "ok", f"{length} bytes: too long for a socket, so it goes by /proc/self/fd")
    else:
        yield Check(
            "socket path",
            "fail",
            f"{length} bytes are too long for a socket here",
            "export DEEPSEEK_TUI_HOME=…   (a folder of your own with a shorter path)",
        )


def python() -> Iterator[Check]:
    """The Python that this runs on."""
    found = f"Python {platform.python_version()} in {sys.prefix}; deepseek-tui {VERSION}"
    good = sys.version_info >= (3, 11)
    yield Check("python", "ok" if good else "fail", found, "" if good else "Install Python 3.11 or newer.")


def backends(cards: GpuReading, catalog: Catalog) -> Iterator[Check]:
    """Each engine, asked in a process of its own. One that no preset needs whose model is here may be missing."""
    names = registry.names()
    if not names:
        yield Check("backends", "fail", "no backend is installed", "pip install --force-reinstall deepseek-tui")
    ready = 0
    for name in names:
        if name == "echo":
            continue
        found = registry.probe(name)
        title = backend_title(name)
        nvidia = any(gpu.driver.startswith("nvidia") for gpu in cards.gpus)
        if not found.ready:
            missed = name in _ALWAYS or name in _needed(catalog)
            yield Check(f"backend: {title}", "warn" if missed else "ok", found.detail or "not usable here", found.hint)
            continue
        ready += 1
        kind = {True: ", can use the card", False: ", CPU only", None: ""}[found.gpu]
        text = f"{found.version}{kind}"
        if found.gpu is False and (found.detail or nvidia):
            detail = found.detail or "There is an NVIDIA card that this build does not use."
            yield Check(f"backend: {title}", "warn", f"{text}: {detail}", found.hint or "make run")
        else:
            yield Check(f"backend: {title}", "ok", text)
    if names and not ready:
        yield Check("backends", "fail", "no engine can be used", "make run   (in the project's folder)")


def read_cards() -> GpuReading:
    """Read the graphics cards, but do not wait for a driver that hangs."""
    sampler = GpuSampler()
    sampler.start()
    deadline = time.monotonic() + HANGS_AFTER_S + 1
    sample = sampler.latest()
    while sample is None and time.monotonic() < deadline:
        time.sleep(0.02)
        sample = sampler.latest()
    sampler.stop()
    return sample.reading if sample is not None else GpuReading(problem="The graphics driver does not answer.")


def graphics(cards: GpuReading) -> Iterator[Check]:
    """The cards, as the driver tells them."""
    for gpu in cards.gpus:
        memory = f"{table.size(gpu.free_bytes)} of {table.size(gpu.total_bytes)} free"
        yield Check(f"card {gpu.index}", "ok", f"{gpu.name}, {memory}, {gpu.driver}")
    if cards.problem and cards.gpus:
        yield Check("cards", "warn", cards.problem, "nvidia-smi   (shows what the driver says)")
    elif not cards.gpus:
        absent = not cards.problem or cards.problem.startswith("No graphics card")
        found = cards.problem or "No graphics card found."
        if absent:
            yield Check("cards", "ok", f"{found} Models run on the processor.")
        else:
            yield Check("cards", "warn", found, "nvidia-smi   (shows what the driver says)")


def memory() -> Iterator[Check]:
    """What a model may take."""
    found = ram()
    text = f"{table.size(found.available_bytes)} of {table.size(found.total_bytes)} available"
    if found.limit_bytes is not None:
        text += f", limited to {table.size(found.limit_bytes)} by a control group"
    little = found.available_bytes is not None and found.available_bytes < LITTLE_MEMORY
    yield Check(
        "memory", "warn" if little else "ok", text, "deepseek-tui stop   (ends loaded models)" if little else ""
    )


def _needed(catalog: Catalog) -> set[str]:
    """Return the backends of presets whose models are here, or may be."""
    needed = set()
    for entry in catalog.entries:
        with contextlib.suppress(Problem):
            if locate(parse(source_for(entry.preset, entry.preset.backend, name=entry.name))).present is not False:
                needed.add(entry.preset.backend)
    return needed


def presets(catalog: Catalog) -> Iterator[Check]:
    """The preset files, and which models are here."""
    for problem in catalog.problems:
        fix = problem.hint or f"deepseek-tui presets check {problem.name}"
        yield Check(f"preset {problem.name}", "fail", f"{problem.what}: {problem.detail}", fix)
    here: list[str] = []
    missing: list[str] = []
    for entry in catalog.entries:
        try:
            located = locate(parse(source_for(entry.preset, entry.preset.backend, name=entry.name)))
        except Problem as problem:
            yield Check(f"preset {entry.name}", "fail", str(problem), problem.hint)
            continue
        (missing if located.present is False else here).append(entry.name)
        if entry.name == "starter" and located.present is False:
            yield Check("starter model", "warn", located.detail, located.hint)
    if here:
        text = f"here: {', '.join(here)}" + (f"; not here: {', '.join(missing)}" if missing else "")
        yield Check("models", "ok", text)
    else:
        yield Check("models", "fail", "no preset's model is here", "deepseek-tui presets show 8b-q4_k_m   (says how)")


def screen() -> Iterator[Check]:
    """What the terminal can show."""
    if not (os.isatty(0) and os.isatty(1)):
        yield Check("terminal", "ok", "none here (piped): `ask` works, the screen needs one")
        return
    term = os.environ.get("TERM", "")
    if not terminal.usable():
        yield Check("terminal", "warn", f"TERM is {term or 'not set'}", "export TERM=xterm-256color")
        return
    colours = "16 colours" if terminal.few_colours() else "256 colours or more"
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if encoding != "utf8":
        yield Check("terminal", "warn", f"TERM={term}, {encoding} instead of UTF-8", "export LC_ALL=C.UTF-8")
    else:
        yield Check("terminal", "ok", f"TERM={term}, {colours}, UTF-8" + (", over SSH" if terminal.remote() else ""))


def hosts(views: list[HostView]) -> Iterator[Check]:
    """The models that are loaded."""
    deaf = [view for view in views if view.status is None]
    older = [view for view in views if view.welcome is not None and view.welcome.build != build_id()]
    for view in deaf:
        yield Check(
            "loaded models", "warn", f"process {view.pid} does not answer", f"deepseek-tui stop --force {view.key}"
        )
    for view in older:
        fix = "deepseek-tui stop   (an idle one is replaced by itself)"
        yield Check("loaded models", "warn", f"{view.title} was started by another version", fix)
    if not deaf and not older:
        titles = ", ".join(view.title for view in views)
        yield Check("loaded models", "ok", titles or "none")


def guarded(name: str, check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Run a check; one that breaks is itself a finding, and the others go on."""
    try:
        yield from check()
    except Exception as error:  # noqa: BLE001 - a sick machine may make anything fail, and doctor must say so
        yield Check(name, "fail", f"cannot be checked: {type(error).__name__}: {error}", "Report this.")
