"""What is private on this machine: who uses it, what it is called, which servers and presets are the user's own."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import platform
import pwd
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends import paths
from backends.errors import Problem
from backends.shown import printable
from presets.catalog import BUILTIN
from presets.sources import hub_cache
from tui.checks.ground import Ground
from tui.checks.redaction import Known, secrets_of
from tui.settings import Settings, load_settings

_USERS = ("USER", "LOGNAME", "SUDO_USER", "USERNAME")
_HOSTS = ("HOSTNAME", "HOST", "NAME", "WSL_DISTRO_NAME")
_FOLDERS = ("HOME", "DEEPSEEK_TUI_HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
            "XDG_STATE_HOME", "XDG_CACHE_HOME", "VIRTUAL_ENV", "OLLAMA_MODELS", "LLAMA_CPP_LIB_PATH")  # fmt: skip
_COMMON = {"root", "localhost", "localhost.localdomain", "user", "linux", "ubuntu", "debian", "fedora", "archlinux"}
"""Names that are nobody's: without them a report would say less, and nothing is kept secret by it."""
_HOST = re.compile(r"(?:^|://|@)(\[[^\]]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?:/|$)")
_HOST_KEYS = {"host", "base_url", "url"}
_DEEPEST = 8
_SHORTEST = 4


def known(ground: Ground) -> Known:
    """Return everything that a report must not say."""
    settings = Settings()
    with contextlib.suppress(Problem):
        settings = load_settings({})
    secrets = secrets_of(os.environ) | {origin.key for origin in settings.origins.values() if origin.key}
    names = {*_people(), *_machines(), *_presets(ground)}
    for origin, entry in settings.origins.items():
        names |= set(_hosts(origin))
        secrets |= {entry.ca_file} if entry.ca_file else set()
    names |= set(_hosts(os.environ.get("OLLAMA_HOST", ""), surely=True))
    for own in ground.catalog.entries:
        if not own.builtin:
            names |= set(_named_in(own.preset.backends))
    names = {name for name in names if name.casefold() not in _COMMON}
    return Known(frozenset(secrets), frozenset(names), frozenset(_places()))


def _people() -> Iterator[str]:
    for variable in _USERS:
        yield os.environ.get(variable, "")
    with contextlib.suppress(KeyError):
        found = pwd.getpwuid(os.getuid())
        yield found.pw_name
        full = found.pw_gecos.partition(",")[0].strip()
        yield full
        yield from (part for part in full.split() if len(part) > 3)
    yield Path.home().name


def _machines() -> Iterator[str]:
    for name in (platform.node(), socket.gethostname(), *(os.environ.get(variable, "") for variable in _HOSTS)):
        yield name
        yield name.partition(".")[0]


def _presets(ground: Ground) -> Iterator[str]:
    """Yield what the user called presets; their titles are also those of loaded models."""
    builtin = {word for entry in ground.catalog.entries if entry.builtin for word in (entry.name, entry.preset.title)}
    builtin |= {path.stem for path in BUILTIN.glob("*.toml")}  # the user's own may hide one of ours
    own = [word for entry in ground.catalog.entries if not entry.builtin for word in (entry.name, entry.preset.title)]
    own += [problem.name for problem in ground.catalog.problems]
    own += [view.title for view in ground.hosts or ()]
    yield from (printable(word, 400) for word in own if word not in builtin)


def _places() -> set[str]:
    folders = {os.environ.get(variable, "") for variable in _FOLDERS}
    folders |= {str(path) for path in (paths.config(), paths.data(), paths.state(), paths.cache(), hub_cache())}
    with contextlib.suppress(KeyError):
        folders.add(pwd.getpwuid(os.getuid()).pw_dir)
    with contextlib.suppress(OSError, RuntimeError):
        folders |= {str(Path(folder).resolve()) for folder in set(folders) if folder.startswith("/")}
    return {folder.rstrip("/") for folder in folders if folder.startswith("/") and len(folder.rstrip("/")) > 1}


def _named_in(tables: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the servers and the models that a preset of the user's names."""
    for key, text in _texts(tables, "", _DEEPEST):
        yield from _hosts(text, surely=key in _HOST_KEYS)
        if key == "source":
            rest = text.partition(":")[2]
            yield from (part for part in (rest, Path(rest).name, Path(rest).stem) if len(part) >= _SHORTEST)


def _hosts(text: str, *, surely: bool = False) -> Iterator[str]:
    """Yield the servers that a text names; one without a dot only where it is `surely` a server."""
    for match in _HOST.finditer(text):
        name = match[1].strip("[]")
        if (surely or "." in name or "://" in text) and not _is_here(name):
            yield name


def _texts(value: Any, key: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield each text of some tables with its key."""
    if isinstance(value, str):
        yield key, value
    elif depth and isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, str(name), depth - 1)
    elif depth and isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key, depth - 1)


def _is_here(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.casefold() == "localhost"
    return address.is_loopback or address.is_unspecified
