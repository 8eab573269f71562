"""What the meter of a host costs and how true it is, beside a card whose curve is known.

Run it with `make bench` or `python tests/benchmarks/bench_energy.py [ROUNDS]`. The card is the tests' stand-in for the
driver's library, read through the true binding: once with an energy counter and once with power samples alone. Each
round is a process of its own that measures a triangle of power and then does nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SPAN_S = 8.0
HIGH_W = 200.0
GOAL_CORES, GOAL_ERROR = 0.01, 0.02
ROOT = Path(__file__).resolve().parents[2]


def measure() -> None:
    """Measure one triangle in this process; print the joules, and the CPU seconds of measuring and of doing nothing."""
    from backends.energy.meter import Meter

    meter = Meter()
    meter.start()
    time.sleep(0.5)
    busy, began = time.process_time(), time.monotonic()
    meter.enter("decode")
    time.sleep(SPAN_S)
    energy = meter.take()
    meter.enter(None)
    lasted, busy = time.monotonic() - began, time.process_time() - busy
    time.sleep(6)  # the idle draw is learnt meanwhile
    idle = time.process_time()
    time.sleep(3)
    idle = (time.process_time() - idle) / 3
    wakes = _waking()
    assert energy is not None
    card = next(device for device in energy.devices if device.device.startswith("GPU"))
    figures = {"joules": card.joules, "source": card.source, "began": began, "cores": busy / lasted, "idle": idle}
    print(json.dumps(figures | {"lasted": lasted, "wakes": wakes}))


def _waking() -> float:
    """Return the cores that a thread takes which does nothing but wake as often as power is sampled."""
    from backends.energy.source import POWER_INTERVAL_S

    def wake() -> None:
        for _ in range(round(SPAN_S / 2 / POWER_INTERVAL_S)):
            time.sleep(POWER_INTERVAL_S)

    thread, before = threading.Thread(target=wake), time.process_time()
    thread.start()
    thread.join()
    return (time.process_time() - before) / (SPAN_S / 2)


def main(rounds: int) -> None:
    """Measure `rounds` times with each kind of card; print medians, spreads and goals."""
    from tests import fake_driver

    with tempfile.TemporaryDirectory() as folder:
        says = fake_driver.build(Path(folder)) / "says"
        for title, more in (("energy counter", ""), ("power samples", "energyrc0 3\n")):
            runs = [_run(Path(folder), says, more) for _ in range(rounds)]
            errors = [run["joules"] / _expected(run) - 1 for run in runs]
            print(f"{runs[0]['source']} ({title})")
            print(f"  energy of a known curve: off by {_percent(errors)} (goal: within ±{GOAL_ERROR:.0%})")
            print(
                f"  cores while measuring: {_percent([run['cores'] for run in runs])} (goal: at most {GOAL_CORES:.0%})"
            )
            print(f"  cores of a thread that only wakes 5 times a second: {_percent([run['wakes'] for run in runs])}")
            print(f"  cores while idle: {_percent([run['idle'] for run in runs], 3)}")


def _run(folder: Path, says: Path, more: str) -> dict[str, float]:
    epoch = time.monotonic()
    corners = f"0 0 {SPAN_S / 2 + 1.5} {HIGH_W} {SPAN_S + 3} 0"
    says.write_text(f"cards 1\ntext0 Card\nprocesses 3\nepoch {epoch}\nprofile0 {corners}\n{more}")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "FAKE_NVML": str(says), "PYTHONPATH": str(ROOT)}
    environment["DEEPSEEK_TUI_HOME"] = str(folder / "home")
    child = subprocess.run(
        [sys.executable, __file__, "--measure"], env=environment, capture_output=True, text=True, check=True
    )
    run: dict[str, float] = json.loads(child.stdout)
    return run | {"epoch": epoch}


def _expected(run: dict[str, float]) -> float:
    """Return the joules under the triangle from the beginning to the end of the span."""
    top, end = SPAN_S / 2 + 1.5, SPAN_S + 3

    def until(at: float) -> float:
        at = max(0.0, min(at, end))
        if at <= top:
            return HIGH_W * at * at / (2 * top)
        left = end - at
        return HIGH_W * end / 2 - HIGH_W * left * left / (2 * (end - top))

    began = run["began"] - run["epoch"]
    return until(began + run["lasted"]) - until(began)


def _percent(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}%} ({min(values):.{digits}%} – {max(values):.{digits}%})"


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure()
    else:
        sys.path.insert(0, str(ROOT))
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
