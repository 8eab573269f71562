"""How fast a model comes over a line of 1 Gbit/s, beside curl; what that takes of the processor; and after a kill.

Run it with `make bench` or `python tests/benchmarks/bench_pull.py [GB] [ROUNDS] [GBIT]`; with 0 GBIT the line has no
limit. The server is a process of its own on the loopback and sends a sparse file. curl only writes the file; the job
also verifies its sha256 and sees it safe on the disk before it gives it its name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from backends.jobs.job import JobSpec

ROOT = Path(__file__).resolve().parents[2]
GOAL = 0.95
WATCHER_GOAL = 5.0
_PIECE = 1024**2


def main(gigabytes: float, rounds: int, gbit_per_s: float) -> None:
    """Fetch the file with both in turn; print medians, spreads and goals."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ.update(DEEPSEEK_TUI_HOME=str(place / "home"))
        for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("HF_")]:
            del os.environ[name]
        sha256 = _sparse(place / "model.gguf", round(gigabytes * 1e9))
        with _serving(place / "model.gguf", sha256, gbit_per_s) as server:
            assert server.stdout is not None
            os.environ["HF_ENDPOINT"] = server.stdout.readline().decode().strip()
            try:
                _compare(place, rounds, gbit_per_s)
                _kill(place)
            finally:
                server.kill()


def _compare(place: Path, rounds: int, gbit_per_s: float) -> None:
    size = (place / "model.gguf").stat().st_size
    print(f"a file of {size / 1e9:.1f} GB over a line of {gbit_per_s:g} Gbit/s (0: no limit), {rounds} rounds")
    curls, jobs, shares, busy, watching = [], [], [], [], []
    for _ in range(rounds):
        curls.append(_curl(place))
        took_s, cpu_s, watched_s = _job(place)
        jobs.append(took_s)
        busy.append(100 * cpu_s / took_s)
        watching.append(100 * watched_s / took_s)
        shares.append(curls[-1] / took_s)
    print(f"  curl: {_rates(size, curls)}")
    print(f"  job:  {_rates(size, jobs)}, verified and safe on the disk")
    print(f"  beside curl: {statistics.median(shares):.3f} ({min(shares):.3f} – {max(shares):.3f}; goal: {GOAL})")
    print(f"  the job's process: {statistics.median(busy):.0f} % of a core")
    print(f"  who watches it twice a second: {statistics.median(watching):.2f} % (goal: below {WATCHER_GOAL:.0f} %)")


def _kill(place: Path) -> None:
    """Kill the job in its middle, begin it again, and say how many bytes came twice."""
    from backends.jobs import launch

    spec, target = _spec(place)
    begun = launch.start(spec)
    size = (place / "model.gguf").stat().st_size
    part = target.with_name(target.name + ".part")
    while not part.exists() or part.stat().st_size < size / 2:
        time.sleep(0.01)
    assert begun.pid is not None
    os.kill(begun.pid, signal.SIGKILL)
    here = part.stat().st_size
    began = time.monotonic()
    *_, last = launch.watch(launch.start(spec).key, 0.05)
    took = time.monotonic() - began
    assert last.state == "done", last
    print(
        f"  killed after {here / 1e9:.2f} GB: the rest of {(size - here) / 1e9:.2f} GB came in {took:.1f} s, verified"
    )
    target.unlink()


def _curl(place: Path) -> float:
    target = place / "curl.gguf"
    began = time.monotonic()
    subprocess.run(
        [
            "curl",
            "-sfL",
            "--noproxy",
            "*",
            "-r",
            "0-",
            "-o",
            target,
            f"{os.environ['HF_ENDPOINT']}/me/some/resolve/main/model.gguf",
        ],
        check=True,
    )
    took = time.monotonic() - began
    os.sync()
    target.unlink()
    return took


def _job(place: Path) -> tuple[float, float, float]:
    """Return how long it took, and the processor's time of the job and of who watched it, in seconds."""
    from backends.jobs import files, launch

    spec, target = _spec(place)
    began, watched = time.monotonic(), time.process_time()
    key, before = launch.start(spec).key, os.times()
    while (view := launch.view(key)) is not None and view.running:
        launch.survey()
        time.sleep(0.5 if view.progress.left_s is None or view.progress.left_s > 2 else 0.02)
    took, watched = time.monotonic() - began, time.process_time() - watched
    assert view is not None
    assert view.state == "done", view.progress.error
    while files.alive(view.folder):
        time.sleep(0.01)
    launch.reap()
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    target.unlink()
    return took, cpu, watched


def _spec(place: Path) -> tuple[JobSpec, Path]:
    import msgspec

    from backends.hub.address import HubFile
    from backends.hub.wanted import Pull
    from backends.jobs.job import JobSpec

    folder = place / "models"
    work = msgspec.to_builtins(Pull(HubFile("me", "some", "model.gguf"), str(folder)))
    return JobSpec("pull", str(folder), "model.gguf", work), folder / "model.gguf"


def _sparse(path: Path, size: int) -> str:
    """Make a file that takes no room on the disk; return its hash."""
    path.write_bytes(b"GGUF")
    os.truncate(path, size)
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _serving(path: Path, sha256: str, gbit_per_s: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--serve", str(path), sha256, str(gbit_per_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def serve(path: Path, sha256: str, gbit_per_s: float) -> None:
    """Be the hub: all connections together get no more than the line carries."""
    from tests.backends.fake_hub import FakeHub, HubHandler

    def pour(self: HubHandler, opened: BinaryIO, length: int) -> None:
        began, sent, rate = time.monotonic(), 0, gbit_per_s * 1e9 / 8
        start = opened.tell()
        while sent < length:
            sent += os.sendfile(self.connection.fileno(), opened.fileno(), start + sent, min(_PIECE, length - sent))
            if rate and (ahead := sent / rate - (time.monotonic() - began)) > 0:
                time.sleep(ahead)

    HubHandler.pour = pour  # type: ignore[method-assign]
    with FakeHub() as hub:
        hub.add(path)
        hub.hashes["me/some/model.gguf"] = sha256
        print(hub.root, flush=True)
        signal.pause()


def _rates(size: int, times: list[float]) -> str:
    median = statistics.median(times)
    return f"{size / median / 1e6:.1f} MB/s, {median:.2f} s ({min(times):.2f} – {max(times):.2f})"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    elif not shutil.which("curl"):
        print("curl is not here to compare with.")
    else:
        given = [float(argument) for argument in sys.argv[1:]]
        main(given[0] if given else 3.0, int(given[1]) if len(given) > 1 else 3, given[2] if len(given) > 2 else 1.0)
