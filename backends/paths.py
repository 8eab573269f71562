"""Every path of ours, and nobody else's: XDG folders, or all under DEEPSEEK_TUI_HOME.

Functions look at the environment at each call, so a test or a child process sees what it was given.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from backends.atomic import sync_folder

APP = "deepseek-tui"


def _folder(kind: str, variable: str, fallback: str) -> Path:
    home = os.environ.get("DEEPSEEK_TUI_HOME")
    if home:
        return Path(home).expanduser().absolute() / kind
    base = os.environ.get(variable, "")
    # The XDG specification says that a relative value must be ignored.
    root = Path(base) if base.startswith("/") else Path.home() / fallback
    return root / APP


def config() -> Path:
    """Settings and the user's own presets."""
    return _folder("config", "XDG_CONFIG_HOME", ".config")


def data() -> Path:
    """Conversations and models: what must not be lost."""
    return _folder("data", "XDG_DATA_HOME", ".local/share")


def state() -> Path:
    """Sockets, locks, spools and logs. Unlike the runtime folder it survives the last logout."""
    return _folder("state", "XDG_STATE_HOME", ".local/state")


def cache() -> Path:
    """What can be made again."""
    return _folder("cache", "XDG_CACHE_HOME", ".cache")


def chat_states() -> Path:
    """What an engine needs to go on with a conversation without reading it anew: one file for each and each model."""
    return cache() / "chats"


def private(folder: Path) -> Path:
    """Create `folder` (and parents) readable by its owner alone, and return it. It is there after a power cut too.

    Raises OSError if it cannot be created.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in reversed(missing):
        with contextlib.suppress(OSError):  # one that is not ours may not be readable
            sync_folder(each.parent)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def hosts() -> Path:
    """One folder for each running host: its socket, lock and log."""
    return state() / "hosts"


def spools() -> Path:
    """One file for each answer that is being generated or has not been taken into the store yet."""
    return state() / "spool"


def database() -> Path:
    """The conversations."""
    return data() / "chats.sqlite3"


def user_presets() -> Path:
    """The user's own presets, one TOML file each."""
    return config() / "presets"


def user_recipes() -> Path:
    """The user's own recipes for mixed quantisations, one TOML file each."""
    return config() / "recipes"
