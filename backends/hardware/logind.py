"""What systemd-logind does to a user's programs when the user logs out: logind.conf(5), loginctl(1)."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from backends.hardware.bounded import head
from backends.hardware.kernel_files import text

_ROOT = Path("/")
_FOLDERS = ("etc", "run", "usr/local/lib", "usr/lib", "lib")
"""Where systemd looks, the strongest first."""
_LONGEST = 64 * 1024
_MOST = 200
_YES, _NO = {"1", "yes", "y", "true", "t", "on"}, {"0", "no", "n", "false", "f", "off"}

Living = Literal["session", "manager", "elsewhere"]


class Logout(msgspec.Struct, frozen=True):
    """What happens at logout. `kills` is None where it is not told.

    `only` and `excluded` are the users to whom it applies or does not. `source` is the file that says so, "" where it
    is how this system was built.
    """

    kills: bool | None = None
    only: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ("root",)
    source: str = ""

    def ends(self, user: str) -> bool | None:
        """Say whether a user's session is ended with everything in it, None where it is not told."""
        if self.kills is not True:
            return self.kills
        return user not in self.excluded and (not self.only or user in self.only)


def runs(root: Path = _ROOT) -> bool:
    """Say whether systemd runs this machine: sd_booted(3)."""
    return (root / "run/systemd/system").is_dir()


def logout(root: Path = _ROOT) -> Logout:
    """Read the settings: the first main file, then all drop-ins by name, a stronger folder's hiding a weaker one's."""
    main = next((path for folder in _FOLDERS if (path := root / folder / "systemd/logind.conf").is_file()), None)
    dropped: dict[str, Path] = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder / "systemd/logind.conf.d").glob("*.conf"))[:_MOST]:
            dropped.setdefault(path.name, path)
    found = Logout()
    if main is not None:
        # "Entries in this file show the compile time defaults", says its head.
        built = re.search(r"^#\s*KillUserProcesses\s*=\s*(\w+)\s*$", head(main, _LONGEST), re.MULTILINE)
        found = msgspec.structs.replace(found, kills=_flag(built[1]) if built else None)
    for path in [*([main] if main else []), *(dropped[name] for name in sorted(dropped))]:
        found = _after(found, path, root)
    return found


def lingers(user: str, root: Path = _ROOT) -> bool:
    """Say whether the user's own service manager goes on without a session."""
    return bool(user) and "/" not in user and (root / "var/lib/systemd/linger" / user).exists()


def living(root: Path = _ROOT) -> Living:
    """Say what this process belongs to: a login's session, the user's service manager, or neither."""
    for line in text(root / "proc/self/cgroup").splitlines():
        path = line.split(":", 2)[-1]
        if re.search(r"/user@\d+\.service(/|$)", path):
            return "manager"
        if re.search(r"/session-[^/]+\.scope(/|$)", path):
            return "session"
    return "elsewhere"


def ends_with_login(root: Path = _ROOT, user: str | None = None) -> bool:
    """Say whether logind is known to end what this process starts when the user logs out."""
    name = user_name() if user is None else user
    return runs(root) and living(root) == "session" and logout(root).ends(name) is True


def can_scope(root: Path = _ROOT, environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether `systemd-run --user` has a service manager to talk to."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    own = (root / runtime.lstrip("/")) if runtime else None
    return shutil.which("systemd-run") is not None and own is not None and (own / "systemd/private").exists()


def user_name() -> str:
    """Return the name of whoever runs this, "" if the system does not know it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _after(found: Logout, path: Path, root: Path) -> Logout:
    """Return the settings as they are once a further file was read."""
    section = ""
    for line in map(str.strip, head(path, _LONGEST).splitlines()):
        if line.startswith("["):
            section = line
        key, equals, value = (part.strip() for part in line.partition("="))
        if section != "[Login]" or not equals or key.startswith(("#", ";")):
            continue
        match key:
            case "KillUserProcesses" if _flag(value) is not None:
                found = msgspec.structs.replace(found, kills=_flag(value), source=f"/{path.relative_to(root)}")
            case "KillOnlyUsers":
                found = msgspec.structs.replace(found, only=_more(found.only, value))
            case "KillExcludeUsers":
                found = msgspec.structs.replace(found, excluded=_more(found.excluded, value))
    return found


def _more(users: tuple[str, ...], value: str) -> tuple[str, ...]:
    """Return a list with those of one more line: an empty line begins it anew."""
    return (*users, *value.split()) if value else ()


def _flag(value: str) -> bool | None:
    word = value.lower()
    return True if word in _YES else False if word in _NO else None
