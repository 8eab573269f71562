"""`doctor --report`: one text for a bug report, without names, keys, addresses and anything that was said."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from backends import paths
from backends.errors import Problem
from backends.hardware.bounded import head
from backends.hardware.machine import Machine
from backends.titles import backend_title
from backends.version import build_id
from presets.machine_files import to_toml
from tui.chat.bill import Rates
from tui.chat.clean import clean
from tui.checks.check import Check
from tui.checks.ground import Ground
from tui.checks.logs import host_logs
from tui.checks.private import known
from tui.checks.redaction import redacted
from tui.settings import Settings, load_settings

HEAD = """\
deepseek-tui: report for a bug

In it: versions, the machine, what `doctor` found, which settings differ from the defaults, and the last lines of the
engines' logs. Not in it: chats, keys, names, addresses, folders. Names are looked for as well as a program can: read it
before you post it."""

_PACKAGES = (
    "llama-cpp-python", "exllamav2", "torch", "ollama", "httpx", "textual", "rich", "msgspec", "jinja2", "nvidia-ml-py",
)  # fmt: skip
_VARIABLES = re.compile(r"(?:DEEPSEEK_TUI|OLLAMA|LLAMA|GGML|CUDA|HIP|ROCR|HSA|HF|NVIDIA|XDG|TEXTUAL)_[A-Z0-9_]{1,40}")
_DEVICES = re.compile(r"[a-z]+\d*[a-z0-9]*(?: \+ [a-z]+\d*[a-z0-9]*)*")


def report(ground: Ground, checks: list[Check]) -> str:
    """Return the text. Whatever is private is taken out at the very end, from all of it."""
    parts = (
        ("Versions", _versions(ground)),
        ("Findings", _findings(checks)),
        ("Settings", _settings(ground)),
        ("Machine", to_toml(shareable(ground.machine)).splitlines()),
        ("Logs", host_logs(paths.hosts()) or ["none"]),
    )
    text = "\n\n".join("\n".join([f"## {title}", *lines]) for title, lines in parts)
    return clean(f"{HEAD}\n\n{redacted(text, known(ground))}\n")


def shareable(machine: Machine) -> Machine:
    """Return a machine without what names it or a place on it."""
    disk = machine.disk
    device = disk.device if disk.kind != "network" and _DEVICES.fullmatch(disk.device) else ""
    return msgspec.structs.replace(machine, disk=msgspec.structs.replace(disk, device=device))


def _versions(ground: Ground) -> Iterator[str]:
    yield f"deepseek-tui {build_id()}"
    yield f"Python {platform.python_version()} ({sys.platform}, {platform.machine()})"
    yield f"{_system(ground.root)}, kernel {_three(platform.release())}"
    yield f"SQLite {sqlite3.sqlite_version}"
    for package in _PACKAGES:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, found in ground.engines.items():
        if found.ready:
            yield f"{backend_title(name)}: {found.version}"
    if ground.nvidia is not None:
        cuda = ground.nvidia.cuda
        yield f"NVIDIA driver {ground.nvidia.driver}" + (f", CUDA up to {cuda[0]}.{cuda[1]}" if cuda else "")


def _findings(checks: list[Check]) -> Iterator[str]:
    for check in checks:
        yield f"{check.state:<4}  {check.name}: {check.public or check.found}"


def _settings(ground: Ground) -> Iterator[str]:
    try:
        settings = load_settings({})
    except Problem:
        yield "the settings cannot be read"
    else:
        yield from _differences(settings, {entry.name for entry in ground.catalog.entries if entry.builtin})
    builtin = [entry.name for entry in ground.catalog.entries if entry.builtin]
    own = sum(not entry.builtin for entry in ground.catalog.entries)
    yield f"presets: {', '.join(builtin)}; the user's own: {own}, broken: {len(ground.catalog.problems)}"
    # Their names alone: what they hold may be private.
    names = sorted(name for name in os.environ if _VARIABLES.fullmatch(name))
    yield f"variables that are set: {', '.join(names) or 'none'}"


def _differences(settings: Settings, builtin: set[str]) -> Iterator[str]:
    """Yield the settings that differ from the defaults, free texts without their values."""
    default = Settings()
    if settings.preset is not None:
        yield f"preset: {settings.preset if settings.preset in builtin else 'one of the user’s own'}"
    if settings.keep_alive_s != default.keep_alive_s:
        yield f"keep_alive_s: {settings.keep_alive_s:g}"
    if settings.theme != default.theme:
        yield "theme: another than the default"
    changed = [name for name in Rates.__struct_fields__ if getattr(settings.bill, name) != getattr(default.bill, name)]
    if changed:
        yield f"bill: {', '.join(changed)}"
    if settings.origins:
        keys = sum(bool(origin.key) or origin.keyring for origin in settings.origins.values())
        yield f"servers: {len(settings.origins)}, with a key: {keys}"


def _system(root: Path) -> str:
    """Return the system's name and version: os-release(5)."""
    told = head(root / "etc/os-release", 8192) or head(root / "usr/lib/os-release", 8192)
    match = re.search(r"^PRETTY_NAME=[\"']?([^\"'\n]{1,80})", told, re.MULTILINE)
    return match[1] if match else platform.system()


def _three(release: str) -> str:
    """Return the numbers of a kernel's version: whoever builds one may name it after anything."""
    match = re.match(r"\d+(?:\.\d+){0,2}", release)
    return match[0] if match else "unknown"
