"""The virtual environment `.venv`: is it sound, how is it made, and what was put into it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tools.say import Trouble

State = Literal["absent", "broken", "usable"]


@dataclass(frozen=True)
class Stamp:
    """What a finished set-up leaves in the environment. `key` covers all that it was made from."""

    key: str
    root: str
    test: bool
    warning: str = ""
    """Not empty if the engine is less than this machine could have: told at every start."""


@dataclass(frozen=True)
class Environment:
    """The environment of one checkout. While it is being changed it holds the file `unfinished`."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def unfinished(self) -> Path:
        return self.folder / "deepseek-tui-unfinished"

    @property
    def stamp_file(self) -> Path:
        return self.folder / "deepseek-tui-stamp.json"


def source_key(root: Path, *facts: str) -> str:
    """Return a hash of the files that decide what is installed, and of `facts` about the machine."""
    digest = hashlib.sha256()
    for path in (root / "pyproject.toml", root / "constraints.txt", *sorted((root / "tools").glob("*.py"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update("\0".join(facts).encode())
    return digest.hexdigest()


def read_stamp(env: Environment) -> Stamp | None:
    """Return what the last finished set-up left, None if there is none or it is unreadable."""
    try:
        stamp = Stamp(**json.loads(env.stamp_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return stamp


def write_stamp(env: Environment, stamp: Stamp) -> None:
    """Mark the set-up as finished."""
    draft = env.stamp_file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(stamp), indent=1) + "\n", encoding="utf-8")
    draft.replace(env.stamp_file)
    env.unfinished.unlink(missing_ok=True)


def judge(env: Environment, stamp: Stamp | None) -> State:
    """Say whether the environment can be kept.

    Broken: a set-up was killed in it, its folder was moved (its scripts name the old place), or its Python is gone or
    of another version than the one asked for.
    """
    if not env.folder.exists() and not env.folder.is_symlink():
        return "absent"
    moved = stamp is not None and stamp.root != str(env.root)
    if env.unfinished.exists() or moved or _version(env.python) != sys.version_info[:2]:
        return "broken"
    return "usable"


def _version(python: Path) -> tuple[int, ...] | None:
    """Return the version of an environment's Python, None if it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        output = subprocess.run(
            [python, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(int(part) for part in output.stdout.split())


def begin(env: Environment, state: State) -> None:
    """Make the environment ready to be installed into; a broken one is made anew.

    Raises `Trouble` if it cannot be made. From here until `write_stamp` it counts as unfinished.
    """
    try:
        if state == "broken":
            _remove(env.folder)
        env.folder.mkdir(exist_ok=True)
        env.unfinished.touch()
        env.stamp_file.unlink(missing_ok=True)
    except OSError as error:
        raise Trouble(
            "The environment's folder cannot be written.", str(error), "Check who owns this folder and its .venv."
        ) from error
    if state != "usable":
        _create(env)


def _remove(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _create(env: Environment) -> None:
    # Called from inside an environment (even the one being replaced), the Python under it is the one to use.
    base: str = getattr(sys, "_base_executable", None) or sys.executable
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONHOME", "PYTHONPATH"}}
    made = subprocess.run([base, "-m", "venv", str(env.folder)], capture_output=True, text=True, check=False, env=clean)
    if made.returncode != 0:
        raise Trouble(
            "The environment could not be created.",
            (made.stdout + made.stderr).strip(),
            "Debian, Ubuntu: sudo apt install python3-venv. Then run the same command again.",
        )
