"""The check of what happens to a running answer at logout: systemd-logind may end it."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from backends.hardware import logind
from backends.shown import printable
from tui.checks.check import Check

_DROP_IN = "/etc/systemd/logind.conf.d/50-keep-running.conf"
_AS_ROOT = (
    rf"sudo mkdir -p {Path(_DROP_IN).parent}; printf '[Login]\nKillUserProcesses=no\n' | sudo tee {_DROP_IN}; "
    "sudo systemctl reload systemd-logind"
)
_LINGER = "loginctl enable-linger"
_WHAT_IT_DOES = "your service manager then goes on without a login; for yourself it needs no root on most systems"
_NAME = "logout"


def logout(
    root: Path = Path("/"), environment: Mapping[str, str] = os.environ, user: str | None = None
) -> Iterator[Check]:
    """Whether a model goes on with its answer after the line is cut."""
    name = user_name() if user is None else user
    if not logind.runs(root):
        yield Check(_NAME, "ok", "no systemd here: nothing ends your programs at logout")
        return
    where, lingers, rules = logind.living(root), logind.lingers(name, root), logind.logout(root)
    if where == "manager":
        yield _in_manager(lingers)
        return
    if where == "elsewhere":
        yield Check(_NAME, "ok", "this is not a login's session: logging out does not touch it")
        return
    ends = rules.ends(name)
    if ends is None:
        yield Check(_NAME, "ok", "whether logind ends your programs is not told: no logind.conf that says it")
    elif not ends:
        yield Check(_NAME, "ok", "an answer goes on after you log out")
    else:
        told = f" ({printable(rules.source)})" if rules.source else ", as this system was built"
        yield Check(_NAME, "warn", f"KillUserProcesses=yes{told}", _fix(lingers, root, environment), "killed")


def can_scope(root: Path, environment: Mapping[str, str]) -> bool:
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


def _in_manager(lingers: bool) -> Check:
    if lingers:
        return Check(_NAME, "ok", "an answer goes on after you log out: your service manager stays (linger)")
    found = "this terminal belongs to your service manager, which ends with your last login"
    return Check(_NAME, "warn", found, f"{_LINGER}   ({_WHAT_IT_DOES})", "killed")


def _fix(lingers: bool, root: Path, environment: Mapping[str, str]) -> str:
    """Lingering alone keeps the service manager, not what a session started: the program has to begin in there."""
    if not can_scope(root, environment):
        return _AS_ROOT
    first = "" if lingers else f"{_LINGER}   ({_WHAT_IT_DOES}); then always start it so: "
    return f"{first}systemd-run --user --scope deepseek-tui   Or, for every program: {_AS_ROOT}"
