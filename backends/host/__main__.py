"""A host process: `python -P -m backends.host FOLDER`. FOLDER holds spec.json, and gets lock, socket and log."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from pathlib import Path

import msgspec

from backends.host.linesocket import SOCKET_NAME, listen
from backends.host.server import serve
from backends.host.wire import HostSpec

LOCK, SPEC = "lock", "spec.json"


def main(folder: Path) -> None:
    """Serve the model that FOLDER's spec names; the lock is held as long as this process lives."""
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # Another client was quicker; its host serves both.
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    spec = msgspec.json.decode((folder / SPEC).read_bytes(), type=HostSpec)
    listener = listen(folder)
    try:
        asyncio.run(serve(spec, folder, listener))
    finally:
        (folder / SOCKET_NAME).unlink(missing_ok=True)
        sys.stderr.flush()
        # The engine's own destructors may hang or crash; its memory goes with the process anyway.
        os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
