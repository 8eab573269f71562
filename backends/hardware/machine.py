"""This machine at one moment, as far as running models is concerned: cards, memory, processor, disk, power.

Nothing here raises, and nothing waits for longer than its patience: what does not answer is left out, and a note says
so. `presets.machine_files` writes and reads machines as TOML.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from backends.energy import battery
from backends.hardware import bandwidth, gpu_bandwidth, read_speed
from backends.hardware.cpu import Cpu, cpu
from backends.hardware.disk import Disk, disk_under
from backends.hardware.gpu import Gpu, GpuReading, read_gpus
from backends.hardware.kernel_files import text
from backends.hardware.memory import Ram, ram
from backends.hardware.patience import Question, Unanswered
from backends.hardware.sampler import HANGS_AFTER_S
from backends.hardware.speed import Speed

Answer = TypeVar("Answer")
Power = Literal["mains", "battery"]
Origin = Literal["measured", "described"]


class Card(msgspec.Struct, frozen=True):
    """A graphics card's own memory in bytes. None means unknown.

    `others_bytes` is what processes that are not ours hold, the driver's own share among it. `watts_limit` is the most
    that it may draw. `index` is its place in its driver's count, None on a described machine.
    """

    name: str
    total_bytes: int
    free_bytes: int | None = None
    others_bytes: int | None = None
    driver: str = ""
    bandwidth: Speed | None = None
    watts_limit: float | None = None
    index: int | None = None


class Machine(msgspec.Struct, frozen=True):
    """One machine. `origin` tells whether it was looked at or somebody described it; None means unknown.

    `bandwidth` is that of the memory, read by all usable cores together. `notes` are sentences on what could not be
    found out, or what has to be known about a figure.
    """

    gpus: tuple[Card, ...] = ()
    ram: Ram = Ram(None, None)
    bandwidth: Speed | None = None
    cpu: Cpu = Cpu()
    disk: Disk = Disk()
    wsl2: bool = False
    power: Power | None = None
    notes: tuple[str, ...] = ()
    title: str = ""
    origin: Origin = "measured"


def snapshot(
    models: Path,
    *,
    pids: Collection[int] = (),
    gpus: GpuReading | None = None,
    patience_s: float = HANGS_AFTER_S,
    root: Path = Path("/"),
) -> Machine:
    """Look at this machine and at the disk under the folder `models`.

    `pids` are our processes: what they hold of a card is not others'. Who already samples the cards gives the latest
    reading as `gpus`: where nothing holds the driver open, each start of it may take a second. `patience_s` is how long
    drivers and disks may take. `root` is where proc and sys are found. Speeds are those that were measured before, see
    `bandwidth.measure` and `read_speed.remember`.
    """
    # Without processes of ours nothing is ours, even where the driver does not tell whose its memory is.
    nothing_ours = gpus is None and not pids
    cards = Question("graphics cards", lambda: _cards(gpus or read_gpus(pids, root / "sys/class/drm"), nothing_ours))
    disk = Question(f"disk under {models}", lambda: disk_under(models, root))
    memory, processor = ram(root), cpu(root)
    notes: list[str] = []
    found_cards, problem = _answered(cards, patience_s, "The graphics driver", notes) or ((), "")
    found_disk = _answered(disk, patience_s, "The disk under the models' folder", notes)
    if found_disk is None:
        found_disk = Disk(note="It does not answer.")
    return Machine(
        found_cards,
        memory,
        bandwidth.recall(root),
        processor,
        msgspec.structs.replace(found_disk, read=read_speed.recall(found_disk)),
        wsl2(root),
        power(root),
        tuple(note for note in (problem, *notes, *_limits(memory, processor)) if note),
    )


def wsl2(root: Path = Path("/")) -> bool:
    """Say whether this is Linux inside Windows: its kernel's name, or the device through which it sees cards."""
    release = text(root / "proc/sys/kernel/osrelease").lower()
    return "microsoft-standard" in release or "wsl2" in release or (root / "dev/dxg").exists()


def power(root: Path = Path("/")) -> Power | None:
    """Say what the machine runs on. One without a battery runs on mains; None where the system does not tell."""
    if not (root / "sys/class/power_supply").is_dir():
        return None
    return "battery" if battery.discharging(root) else "mains"


def _answered(question: Question[Answer], patience_s: float, who: str, notes: list[str]) -> Answer | None:
    try:
        return question.answer(patience_s)
    except Unanswered as silent:
        notes.append(f"{who} has not answered for {silent.silent_s:.0f} s.")
    except Exception as error:  # noqa: BLE001 - a sick machine may make anything fail, and a look at it must not
        notes.append(f"{who} cannot be read: {type(error).__name__}: {error}.")
    return None


def _cards(reading: GpuReading, nothing_ours: bool) -> tuple[tuple[Card, ...], str]:
    nominal = gpu_bandwidth.of_nvidia() if any(_is_nvidia(gpu) for gpu in reading.gpus) else {}
    return tuple(_card(gpu, nominal, nothing_ours) for gpu in reading.gpus), reading.problem


def _card(gpu: Gpu, nominal: dict[int, Speed], nothing_ours: bool) -> Card:
    ours = 0 if nothing_ours else gpu.ours_bytes
    others = None if ours is None else max(0, gpu.used_bytes - ours)
    known = nominal.get(gpu.index) if _is_nvidia(gpu) else None
    return Card(gpu.name, gpu.total_bytes, gpu.free_bytes, others, gpu.driver, known, gpu.watts_limit, gpu.index)


def _is_nvidia(gpu: Gpu) -> bool:
    return gpu.driver.startswith("nvidia")


def _limits(memory: Ram, processor: Cpu) -> list[str]:
    """Say what a container or a session allows less than the machine has."""
    notes = []
    if memory.limit_bytes is not None:
        notes.append(f"A control group limits memory to {memory.limit_bytes / 2**30:.1f} GiB.")
    if processor.quota is not None:
        notes.append(f"A control group grants {processor.quota:g} CPUs' worth of time.")
    return notes
