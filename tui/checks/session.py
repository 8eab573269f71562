"""The check of what happens to a running answer at logout: systemd-logind may end it."""

from __future__ import annotations

import os
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
    name = logind.user_name() if user is None else user
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
        yield _ended(rules, lingers, scoped=logind.can_scope(root, environment))


def _ended(rules: logind.Logout, lingers: bool, *, scoped: bool) -> Check:
    """What a session started is ended; models and downloads move into the service manager where there is one."""
    if scoped and lingers:
        return Check(_NAME, "ok", "an answer goes on after you log out: your service manager keeps it (linger)")
    told = f" ({printable(rules.source)})" if rules.source else ", as this system was built"
    fix = f"{_LINGER}   ({_WHAT_IT_DOES})   Or, for every program: {_AS_ROOT}" if scoped else _AS_ROOT
    return Check(_NAME, "warn", f"KillUserProcesses=yes{told}", fix, "killed")


def _in_manager(lingers: bool) -> Check:
    if lingers:
        return Check(_NAME, "ok", "an answer goes on after you log out: your service manager stays (linger)")
    found = "this terminal belongs to your service manager, which ends with your last login"
    return Check(_NAME, "warn", found, f"{_LINGER}   ({_WHAT_IT_DOES})", "killed")
