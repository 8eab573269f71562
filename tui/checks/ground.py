"""What several checks need to know, found out once: the machine, its cards, the engines, the presets, the hosts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from backends import registry
from backends.base import Availability
from backends.errors import Problem
from backends.hardware.displays import Display, displays
from backends.hardware.gpu import GpuReading
from backends.hardware.machine import Machine, snapshot
from backends.hardware.nvidia import Nvidia, nvidia
from backends.hardware.patience import Question, Unanswered
from backends.hardware.sampler import HANGS_AFTER_S, GpuSampler
from backends.host import launch
from backends.host.launch import HostView
from presets.catalog import Catalog, load_catalog
from presets.schema import source_for
from presets.sources import hub_cache, locate, models, parse

Tell = Callable[[str], None]
_AT_ONCE = 4


class Ground(msgspec.Struct, frozen=True):
    """This machine and what is installed on it. `root` is where proc, sys and etc are found.

    `folder` is where most models lie. `hosts` is None where they could not be asked.
    """

    root: Path = Path("/")
    folder: Path = Path()
    machine: Machine = Machine()
    cards: GpuReading = GpuReading()
    nvidia: Nvidia | None = None
    displays: tuple[Display, ...] = ()
    catalog: Catalog = Catalog((), ())
    engines: dict[str, Availability] = {}
    hosts: tuple[HostView, ...] | None = ()


def gather(tell: Tell = lambda _doing: None, root: Path = Path("/")) -> Ground:
    """Look at everything once. `tell` hears what is being looked at. Never raises for a sick machine."""
    tell("the models that are loaded")
    hosts = _hosts()
    tell("the graphics cards")
    cards = read_cards(launch.pids_of(hosts or ()))
    tell("the memory, the processor and the disk")
    folder = models_folder()
    catalog = load_catalog()
    machine = snapshot(folder, gpus=cards, root=root)
    tell("the engines")
    engines = probes()
    return Ground(root, folder, machine, cards, _driver(cards), displays(root), catalog, engines, hosts)


def read_cards(pids: Collection[int] = ()) -> GpuReading:
    """Read the graphics cards, and what `pids` hold there, but do not wait for a driver that hangs."""
    sampler = GpuSampler()
    sampler.watch(pids)
    sampler.start()
    deadline = time.monotonic() + HANGS_AFTER_S + 1
    sample = sampler.latest()
    while sample is None and time.monotonic() < deadline:
        time.sleep(0.02)
        sample = sampler.latest()
    sampler.stop()
    return sample.reading if sample is not None else GpuReading(problem="The graphics driver does not answer.")


def models_folder() -> Path:
    """Return the folder with most of the models: our own, or the cache of Hugging Face where only that is there."""
    own, cached = models(), hub_cache()
    return cached if cached.is_dir() and not own.is_dir() else own


def probes() -> dict[str, Availability]:
    """Ask every engine whether it can work here, each in a process of its own, some at once."""
    names = [name for name in registry.names() if name != "echo"]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(names, pool.map(registry.probe, names), strict=True))


def needed(catalog: Catalog) -> set[str]:
    """Return the backends of presets whose models are here, or may be."""
    found = set()
    for entry in catalog.entries:
        with contextlib.suppress(Problem):
            if locate(parse(source_for(entry.preset, entry.preset.backend, name=entry.name))).present is not False:
                found.add(entry.preset.backend)
    return found


def _driver(cards: GpuReading) -> Nvidia | None:
    if not any(gpu.driver.startswith("nvidia") for gpu in cards.gpus):
        return None
    with contextlib.suppress(Unanswered):
        return Question("NVIDIA driver", nvidia).answer(HANGS_AFTER_S)
    return None


def _hosts() -> tuple[HostView, ...] | None:
    try:
        return tuple(asyncio.run(launch.survey()))
    except Exception:  # noqa: BLE001 - whatever is wrong, the check of the loaded models says that they are unknown
        return None
