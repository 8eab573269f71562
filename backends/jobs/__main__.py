"""A job's process: `python -P -m backends.jobs FOLDER LOCK`. FOLDER holds spec.json, LOCK is a descriptor of its lock.

The lock was taken by who started this process, and goes with it: there is no moment at which nobody holds it.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from backends.base import Cancel, Cancelled
from backends.errors import BackendError, Problem, to_info
from backends.jobs import files
from backends.jobs.kinds import work_of
from backends.jobs.report import Report


def main(folder: Path, lock: int) -> None:
    """Do what FOLDER's spec says, and tell in it how that went."""
    os.set_inheritable(lock, False)
    files.write_pid(lock, os.getpid())  # who began it may have been killed before it could
    cancel = Cancel()
    report = Report(folder, cancel)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: report.terminate())
    status = 1
    with report:
        try:
            spec = files.read_spec(folder)
            if spec is None:
                raise BackendError("The job cannot be read", str(folder / files.SPEC), "Start it again.")
            report.end("done", result=work_of(spec.kind)(spec.work, report, cancel))
            status = 0
        except Cancelled:
            report.end("stopped" if report.wished else "interrupted")
        except BaseException as error:  # noqa: BLE001 - whatever it is, its last words are for who watches
            if not isinstance(error, Problem):
                traceback.print_exc()
            report.end("failed", error=to_info(error))
    sys.stderr.flush()
    # A thread that waits for a slow disk must not hold the end up.
    os._exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
