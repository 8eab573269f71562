"""What there is to know before a model is fetched: its size, the room for it, what it can do here, who has it already.

An offer begins with what is known at once. What has to be looked for comes in later, piece by piece, from functions
that may block.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from backends import ollama_store
from backends.errors import ErrorInfo, Problem, to_info
from backends.hardware.disk import disk_under
from backends.hub.address import endpoint
from backends.hub.wanted import STAYS_FREE_BYTES
from backends.jobs.job import JobView
from backends.origins import is_local, origin_of
from backends.shown import printable, shown_path
from presets import housekeeping
from presets.building import Building, building
from presets.found import Found, find_models, match
from presets.plan import PLANNED, PresetPlan
from presets.pulling import place_of
from presets.schema import PresetEntry
from presets.sources import HuggingFace, models
from tui.plans.brief import expected
from tui.settings import model_folders

if TYPE_CHECKING:
    from backends.ollama.wanted import OllamaPull

NAMED = 3
"""So many models that could be removed are named, the largest."""


class Others(msgspec.Struct, frozen=True):
    """The same model as another program keeps it, and models of ours that no preset uses, (name, bytes).

    `build` is how the preset's own model could be made here instead.
    """

    same: Found | None = None
    removable: tuple[tuple[str, int], ...] = ()
    build: Building | None = None


class Offer(msgspec.Struct, frozen=True):
    """A model that could be fetched. "" and None are what is not known, or not known yet.

    `size_of` says where the size is from. `here_bytes` is what an earlier try has left, and `last` why that ended.
    `expected` and `speed` are the plan's as if the model were here; `expected_here` says whether it would fit.
    `rate` is what the last fetch reached. `elsewhere` is the same model as another program keeps it. `removable` are
    models that may go, (name, bytes). `asking` says that its server is being asked, `trouble` what came of that.
    `by_server` says that a server of Ollama's fetches and keeps it: `repository` is its tag, `server` that server.
    `build` is how the model of `preset` can be made here instead of being fetched, in `build_s`.
    """

    title: str
    model: str
    licence: str
    description: str
    repository: str
    file: str
    server: str
    folder: str
    size_bytes: int | None = None
    size_of: Literal["", "rules", "header"] = ""
    here_bytes: int = 0
    last: ErrorInfo | None = None
    free_bytes: int | None = None
    expected: str = ""
    expected_fits: bool = True
    speed: str = ""
    rate: float | None = None
    elsewhere: Found | None = None
    removable: tuple[tuple[str, int], ...] = ()
    asking: bool = False
    trouble: ErrorInfo | None = None
    by_server: bool = False
    build: Building | None = None
    build_s: float | None = None
    preset: str = ""

    @property
    def to_come(self) -> int | None:
        """Return how many bytes there are to fetch."""
        return None if self.size_bytes is None else max(0, self.size_bytes - self.here_bytes)

    @property
    def left_bytes(self) -> int | None:
        """Return what would be free afterwards; below nothing where there is too little room."""
        return None if self.free_bytes is None or self.to_come is None else self.free_bytes - self.to_come

    @property
    def missing_bytes(self) -> int:
        """Return how much room is missing, with what a fetch leaves for everything else; a server leaves nothing."""
        stays = 0 if self.by_server else STAYS_FREE_BYTES
        return 0 if self.left_bytes is None else max(0, stays - self.left_bytes)


def offer(entry: PresetEntry, source: HuggingFace, view: JobView | None = None, rate: float | None = None) -> Offer:
    """Return what is known at once of a preset's model. `view` is the job that has fetched some of it before."""
    file = printable(f"{source.file}{f'@{source.revision}' if source.revision else ''}", 400)
    found = _offer(entry, f"{source.owner}/{source.repo}", file, shown_path(models()), view)
    found = msgspec.structs.replace(found, rate=rate, asking=not source.is_folder)
    try:
        return msgspec.structs.replace(found, server=printable(endpoint().partition("://")[2], 200))
    except Problem as problem:
        return msgspec.structs.replace(found, trouble=to_info(problem), asking=False)


def offer_by_server(entry: PresetEntry, pull: OllamaPull, view: JobView | None = None) -> Offer:
    """Return what is known of a preset's model that a server fetches: its size only after an earlier try."""
    found = _offer(entry, pull.tag, "", "", view)
    return msgspec.structs.replace(found, server=printable(pull.server, 200), by_server=True)


def free_at_server(pull: OllamaPull) -> int | None:
    """Return what is free where a server of this machine keeps its models; None where that is not known. May block.

    Which of its usual folders it uses only the server knows: where they differ, nothing is said.
    """
    if not is_local(origin_of(pull.url)):
        return None
    free = {disk_under(store).free_bytes for store in ollama_store.stores() if store.is_dir()}
    return free.pop() if len(free) == 1 else None


def _offer(entry: PresetEntry, repository: str, file: str, folder: str, view: JobView | None) -> Offer:
    """Return what a preset says, and what an earlier try has left."""
    preset = entry.preset
    begun = view if view is not None and view.state != "done" else None
    size = begun.progress.total_bytes if begun is not None else None
    return Offer(
        printable(preset.title, 80),
        printable(f"{preset.model.family} {preset.model.quantization}", 200),
        printable(preset.model.licence, 80),
        printable(preset.description, 400),
        printable(repository, 200),
        file,
        "",
        folder,
        size_bytes=size,
        size_of="" if size is None else "header",
        here_bytes=begun.progress.done_bytes if begun is not None else 0,
        last=begun.progress.error if begun is not None else None,
        preset=printable(entry.name, 80),
    )


def with_plan(found: Offer, plan: PresetPlan | None) -> Offer:
    """Take in what is planned."""
    if plan is None or plan.backend != PLANNED:
        return found
    if plan.size_bytes is not None and plan.known is not None:
        header = plan.known.origin == "header"
        size = plan.known.shape.file_bytes if header and plan.known.shape.file_bytes else plan.size_bytes
        if header or found.size_of != "header":
            found = msgspec.structs.replace(found, size_bytes=size, size_of="header" if header else "rules")
    look = expected(plan)
    if look is None:
        return found
    return msgspec.structs.replace(found, expected=look.detail, expected_fits=not look.problem, speed=look.speed)


def free_bytes(source: HuggingFace) -> int | None:
    """Return what is free where a model would lie, None where the system does not tell. May block."""
    return disk_under(place_of(source)).free_bytes


def with_room(found: Offer, free: int | None) -> Offer:
    """Take in how much is free."""
    return msgspec.structs.replace(found, free_bytes=free)


def others(entry: PresetEntry, entries: Sequence[PresetEntry]) -> Others:
    """Look for the same model on this machine, and for what no preset uses. Blocks for seconds where a disk is slow."""
    folders: tuple[Path, ...] = ()
    with contextlib.suppress(Problem):  # Settings that cannot be read are told elsewhere.
        folders = model_folders()
    here = find_models(folders).found
    same = match(entry, here) if PLANNED in entry.preset.backends else None
    used = housekeeping.users(entries, here)
    needed = {one.path for uses in used.values() for one in uses}
    spare = [one for one in here if housekeeping.not_ours(one) is None and one.path not in needed]
    largest = sorted(spare, key=lambda one: -one.size)[:NAMED]
    return Others(same, tuple((one.name, one.size) for one in largest), building(entry))


def with_others(found: Offer, others: Others) -> Offer:
    """Take in what else is on this machine."""
    return msgspec.structs.replace(found, elsewhere=others.same, removable=others.removable, build=others.build)


def with_seconds(found: Offer, seconds: float | None) -> Offer:
    """Take in how long making the model here would take."""
    return msgspec.structs.replace(found, build_s=seconds)


def answered(found: Offer, trouble: ErrorInfo | None) -> Offer:
    """Take in what came of asking the server for the header."""
    return msgspec.structs.replace(found, asking=False, trouble=trouble)
