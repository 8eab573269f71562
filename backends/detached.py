"""Starting a process that outlives the line: in a session of its own, and where logind would end it, in a scope.

A session of its own keeps hang-ups and signals of the terminal away. Where logind ends whatever a login began
(KillUserProcesses=yes), only the user's service manager can keep a process: `systemd-run --user --scope` moves itself
there and then becomes the command, so that process id, descriptors and environment stay what they are.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from backends.hardware import logind

SCOPE = ("systemd-run", "--user", "--scope", "--quiet", "--")
SCOPE_S = 1.5
_POLL_S = 0.005


def start(command: Sequence[str], log: int, keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start `command`, its output going to the descriptor `log`; those in `keep` stay open in it. Raises OSError.

    Takes milliseconds, and where a scope is needed at most SCOPE_S more: if it cannot be had, it goes without.
    """
    if scoped():
        try:
            child = _popen([*SCOPE, *command], log, keep)
        except OSError:
            pass  # It went away since it was looked for.
        else:
            if _became(child, command[0]):
                return child
            child.kill()
            child.wait()
    return _popen(command, log, keep)


def scoped() -> bool:
    """Say whether a scope is asked for here, which can take as long as SCOPE_S."""
    return logind.ends_with_login() and logind.can_scope()


def _popen(command: Sequence[str], log: int, keep: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        start_new_session=True,
        pass_fds=keep,
    )


def _became(child: subprocess.Popen[bytes], program: str) -> bool:
    """Wait until a process that was started as another has become `program`; False if it ended or took too long."""
    wanted = Path(program).resolve()
    deadline = time.monotonic() + SCOPE_S
    while child.poll() is None:
        try:
            if Path(f"/proc/{child.pid}/exe").readlink() == wanted:
                return True
        except OSError:
            pass  # It is just going.
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return False
