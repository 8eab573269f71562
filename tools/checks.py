"""What a bare machine must have, said in plain words before anything is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from tools.say import Trouble

COMPILERS = ("c++", "g++", "clang++")
ROOM_TO_BUILD = 2_000_000_000


def require_venv() -> None:
    """Raise `Trouble` if this Python cannot make environments: Debian and Ubuntu ship that apart."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise Trouble(
            f"This Python cannot create environments: it has no {' and no '.join(missing)} module.",
            f"Python: {sys.executable}",
            "Debian, Ubuntu: sudo apt install python3-venv. Then run the same command again.",
        )


def require_build_tools(room: Path) -> None:
    """Raise `Trouble` if llama.cpp cannot be compiled here. `room` is the folder that the build will use.

    CMake and Ninja are not asked for: the build backend (scikit-build-core) uses those of the machine and lets pip
    fetch them for the build where they are missing or too old.
    """
    if find_compiler() is None:
        raise Trouble(
            "No C++ compiler: the engine (llama.cpp) is compiled on this machine and needs one.",
            f"Looked for {', '.join(COMPILERS)} on PATH, and in the variable CXX.",
            "Debian, Ubuntu: sudo apt install g++. Fedora: sudo dnf install gcc-c++. Arch: sudo pacman -S gcc.\n"
            "macOS: xcode-select --install. Then run the same command again.",
        )
    free = shutil.disk_usage(room).free
    if free < ROOM_TO_BUILD:
        raise Trouble(
            f"Too little disk space to compile the engine: {free / 1e9:.1f} of {ROOM_TO_BUILD / 1e9:.0f} GB.",
            f"Folder: {room}",
            "Free some space, or set XDG_CACHE_HOME to a folder on a larger disk.",
        )


def find_compiler() -> str | None:
    """Return the C++ compiler that CMake would take, None if there is none."""
    named = os.environ.get("CXX")
    if named:
        return shutil.which(named.split()[0])
    return next((path for path in map(shutil.which, COMPILERS) if path), None)
