"""What tests ask of processes."""

from __future__ import annotations

from pathlib import Path


def alive(pid: int) -> bool:
    """Say whether a process runs: one that has ended and waits to be collected does not (Linux only)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
