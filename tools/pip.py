"""Running the environment's own pip, with everything it says in one log file."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.say import Trouble

_USEFUL = re.compile(r"error|fatal|killed|no space left|not found|could not|undefined reference", re.IGNORECASE)
_NOISE = re.compile(r"note: this error originates|subprocess-exited-with-error|See above for|\[notice\]|-Werror")
SHOWN_LINES = 12


def run(
    python: Path,
    arguments: list[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    see: Callable[[str], None] | None = None,
) -> int:
    """Run `python -m pip arguments`, append its output to `log`, show each line to `see`; return the exit status."""
    command = [str(python), "-m", "pip", *arguments, "--disable-pip-version-check", "--no-input"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as record:
        record.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        try:
            for line in process.stdout or ():
                record.write(line)
                record.flush()
                if see:
                    see(line)
            return process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise


def install(python: Path, arguments: list[str], constraints: Path, log: Path) -> None:
    """Install what `arguments` name, at the versions of `constraints`. Raises `Trouble` with the reason."""
    status = run(python, ["install", "--constraint", str(constraints), *arguments], log)
    if status != 0:
        raise Trouble(
            "Installing packages failed.",
            failure(log, status),
            "Most often the network: pip must reach its package index (behind a proxy set HTTPS_PROXY).\n"
            "Then run the same command again.",
        )


def failure(log: Path, status: int) -> str:
    """Return the last useful lines of `log`, the exit status and the path."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    own = lines[max((i for i, line in enumerate(lines) if line.startswith("$ ")), default=0) + 1 :]
    useful = [line for line in own if _USEFUL.search(line) and not _NOISE.search(line)] or own
    shown = [f"  {line.strip()[:300]}" for line in dict.fromkeys(useful[-SHOWN_LINES:])]
    return "\n".join((*shown, f"Exit status {status}; the whole log: {log}"))
