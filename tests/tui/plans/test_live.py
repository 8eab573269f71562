"""Plans that are kept current: anew when something that matters has changed, and never otherwise."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import paths, remembered
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.machine import Machine
from presets import plan as presets_plan
from presets.reference import machine_named
from presets.schema import PresetEntry
from tests import fake_driver
from tests.gguf_files import LLAMA_8B, sparse_model
from tests.tui.plans.conftest import MACHINE, with_free
from tui.plans import live, looking
from tui.plans.live import CALM_S, RAM_SHARE, STEP_BYTES, LivePlans, Marks, Situation, apart, differs, marks_of

if TYPE_CHECKING:
    from tests.tui.plans.conftest import Mine

GB = 10**9


def reading(free_bytes: int, ours_bytes: int | None = 0) -> GpuReading:
    total = 8 * 1024**3
    return GpuReading((Gpu(0, "RTX 3070", total, total - free_bytes, free_bytes, ours_bytes),))


class World:
    """A machine that is described, how often it was looked at, and how often somebody was told of new plans."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.machine: Machine = MACHINE
        self.looks = self.news = 0
        self.usable = True
        self._started: list[LivePlans] = []
        patch.setattr(live, "EVERY_S", 0.0)
        patch.setattr(live, "look_here", self._look)
        patch.setattr(looking, "card_usable", lambda: self.usable)

    def plans(self, *entries: PresetEntry) -> LivePlans:
        def told() -> None:
            self.news += 1

        self._started.append(LivePlans(entries, told))
        return self._started[-1]

    def stop(self) -> None:
        for one in self._started:
            one.stop()

    def _look(self, _situation: Situation, _before: frozenset[int]) -> tuple[Machine, frozenset[int]]:
        self.looks += 1
        return self.machine, frozenset()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(monkeypatch)
    yield made
    made.stop()


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def layers(plans: LivePlans) -> int | None:
    """Return how many layers of the user's model go onto the card, None while nothing is planned."""
    plan = plans.planned.plans.get("mine") if plans.planned is not None else None
    return plan.fit.gpu_layers if plan is not None and plan.fit is not None else None


def test_at_rest_nothing_is_planned_again(world: World, mine: Mine) -> None:
    plans = world.plans(mine())
    for _ in range(20):
        plans.tell(Situation(reading(8 * GB)))
        until(lambda: not plans._wake.is_set() and plans.planned is not None)
    time.sleep(0.05)
    assert (world.looks, world.news) == (1, 1)


def test_memory_that_others_take_changes_the_plan_and_somebody_is_told(world: World, mine: Mine) -> None:
    plans = world.plans(mine())
    plans.tell(Situation(reading(8 * GB)))
    until(lambda: layers(plans))
    before = layers(plans)
    world.machine = with_free(5 * GB)
    plans.tell(Situation(reading(5 * GB)))
    until(lambda: layers(plans) != before)
    assert 0 < (layers(plans) or 0) < (before or 0)
    assert world.news == 2


def test_what_our_own_model_takes_changes_nothing(world: World, mine: Mine) -> None:
    free, taken = 8 * GB, 6 * GB
    entries = (mine(),)
    empty = marks_of(Situation(reading(free)), entries)
    assert not differs(empty, marks_of(Situation(reading(free - taken, taken)), entries), 60.0)
    silent = marks_of(Situation(reading(free - taken, None), ours_bytes=taken), entries)
    assert empty.vram_free == silent.vram_free


def test_plans_are_not_made_more_often_than_every_so_many_seconds(
    world: World, mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 60.0)
    plans = world.plans(mine())
    for free in (8 * GB, 7 * GB, 6 * GB):
        plans.tell(Situation(reading(free)))
        until(lambda: plans.planned is not None and not plans._wake.is_set())
    time.sleep(0.05)
    assert world.looks == 1
    plans.again()
    until(lambda: world.looks == 2)


def test_a_file_that_appears_is_planned_for_by_its_own_header(world: World, mine: Mine, home: Path) -> None:
    entry = mine()
    (home / "14b.gguf").unlink()
    plans = world.plans(entry)
    plans.tell(Situation())
    until(lambda: plans.planned)
    assert plans.planned is not None
    assert plans.planned.plans["mine"].located.present is False
    sparse_model(home / "14b.gguf", LLAMA_8B, "Q4_K_M", small_vocabulary=True)
    plans.tell(Situation())
    until(lambda: plans.planned is not None and plans.planned.plans["mine"].located.present)
    known = plans.planned.plans["mine"].known
    assert known is not None
    assert (known.origin, known.shape.layers) == ("file", 32)


def test_what_was_measured_meanwhile_is_noticed(mine: Mine) -> None:
    entries = (mine(),)
    paths.private(paths.cache())
    before = marks_of(Situation(), entries)
    remembered.write("runs", "key", 1)
    assert differs(before, marks_of(Situation(), entries), 60.0)


def test_the_backend_that_was_chosen_is_the_one_that_is_planned(world: World) -> None:
    from presets.catalog import find, load_catalog

    plans = world.plans(find(load_catalog(), "8b-q4_k_m"))
    plans.tell(Situation(backends=(("8b-q4_k_m", "ollama"),)))
    until(lambda: plans.planned)
    assert plans.planned is not None
    assert plans.planned.plans["8b-q4_k_m"].backend == "ollama"


def test_a_build_that_leaves_the_card_idle_is_found_out_afterwards(world: World, mine: Mine) -> None:
    world.usable = False
    plans = world.plans(mine())
    plans.tell(Situation(reading(8 * GB)))
    until(lambda: plans.planned is not None and not plans.planned.card_usable)
    assert layers(plans) == 0
    assert plans.planned is not None
    assert "leaves NVIDIA GeForce RTX 3070 idle" in plans.planned.plans["mine"].warnings[0]


def test_a_look_that_fails_is_made_again_and_nobody_hears_of_it(
    world: World, mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick(*_: object) -> None:
        raise OSError("a dying disk")

    plans = world.plans(mine())
    with monkeypatch.context() as patch:
        patch.setattr(live, "look_here", sick)
        plans.tell(Situation())
        time.sleep(0.1)
    assert plans.planned is None
    plans.tell(Situation())
    until(lambda: layers(plans))


def test_a_preset_whose_plan_fails_costs_the_others_nothing(mine: Mine, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = mine()
    broken = msgspec.structs.replace(entry, name="broken")
    planned = presets_plan.plan_preset

    def fails(one: PresetEntry, *args: object, **keywords: object) -> object:
        if one.name == "broken":
            raise RuntimeError("a bug")
        return planned(one, *args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(presets_plan, "plan_preset", fails)
    assert set(live.planned((broken, entry), MACHINE, Situation()).plans) == {"mine"}


# What matters.


@given(st.lists(st.tuples(st.integers(0, 80 * GB), st.integers(-STEP_BYTES, STEP_BYTES)), max_size=3))
def test_what_is_less_than_a_step_never_matters(cards: list[tuple[int, int]]) -> None:
    before = Marks(tuple(free for free, _ in cards), GB)
    now = Marks(tuple(free + change for free, change in cards), GB)
    assert not differs(before, now, 3600.0)


@pytest.mark.parametrize(
    ("before", "now", "age_s", "matters"),
    [
        (Marks((GB,), GB), Marks((GB - STEP_BYTES - 1,), GB), 2.0, True),
        (Marks((GB,), GB), Marks((GB + STEP_BYTES + 1,), GB), 2.0, True),
        (Marks((GB,), GB), Marks((GB, GB), GB), 2.0, True),
        (Marks(None, GB), Marks((GB,), GB), 2.0, True),
        (Marks(None, GB), Marks(None, GB), 2.0, False),
        (Marks(None, 20 * GB), Marks(None, 20 * GB - int(20 * GB * RAM_SHARE) - 1), CALM_S, True),
        (Marks(None, 20 * GB), Marks(None, 20 * GB - int(20 * GB * RAM_SHARE) - 1), CALM_S - 1, False),
        (Marks(None, 20 * GB), Marks(None, 20 * GB - 2 * STEP_BYTES), CALM_S, False),
        (Marks(None, None), Marks(None, GB), 2.0, True),
        (Marks(None, GB, (1, "a")), Marks(None, GB, (1, "b")), 2.0, True),
    ],
)
def test_what_matters(before: Marks, now: Marks, age_s: float, matters: bool) -> None:
    assert differs(before, now, age_s) == matters


# The machine itself.


def test_on_the_true_driver_what_others_take_and_what_is_ours_are_told_apart(tmp_path: Path) -> None:
    says = "cards 1\ntext0 NVIDIA GeForce RTX 4060\ntotal0 8589934592\nfree0 {}\ncompute0 {}\n"
    card = fake_driver.environment(tmp_path / "driver", says.format(6 * GB, "1 100"))
    code = (
        "import sys; from tui.plans.live import Situation, look_here\n"
        "for line in sys.stdin:\n"
        "    machine, pids = look_here(Situation(pid=int(line)))\n"
        "    print(machine.gpus[0].free_bytes, sorted(pids), flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        env=os.environ | card,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None

    def look(text: str) -> list[str]:
        assert child.stdin is not None
        assert child.stdout is not None
        fake_driver.tell(card, text)
        child.stdin.write("77\n")
        child.stdin.flush()
        return child.stdout.readline().split(maxsplit=1)

    try:
        # A process of ours holds 2 GB: they come free before another model is loaded.
        assert look(says.format(6 * GB, f"77 {2 * GB}")) == [str(8 * GB), "[77]\n"]
        assert look(says.format(4 * GB, f"77 {2 * GB} 1234 {2 * GB}")) == [str(6 * GB), "[77]\n"]
    finally:
        child.communicate(timeout=10)


def test_what_a_server_holds_for_us_comes_free_too() -> None:
    machine = with_free(3 * GB)
    assert looking.without(machine, 4 * GB).gpus[0].free_bytes == 7 * GB
    assert looking.without(machine, 40 * GB).gpus[0].free_bytes == machine.gpus[0].total_bytes
    assert looking.without(machine, 0) is machine
    assert looking.without(machine_named("cpu-only"), GB).gpus == ()


def test_only_models_on_the_disk_that_a_plan_is_about_are_measured(mine: Mine, home: Path) -> None:
    assert list(looking.files_here([mine()])) == [home / "14b.gguf"]
    entry = mine()
    (home / "14b.gguf").unlink()
    assert list(looking.files_here([entry])) == []


# Apart from everything.


def test_work_that_is_done_apart_gives_its_answer_or_its_error_and_holds_nothing_up() -> None:
    async def run() -> None:
        assert await apart(lambda: 7) == 7
        with pytest.raises(ValueError, match="no"):
            await apart(lambda: int("no"))
        gate = threading.Event()
        waiting = asyncio.ensure_future(apart(lambda: gate.wait(10)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        gate.set()

    asyncio.run(run())


def test_the_screen_imports_nothing_that_plans_before_its_first_frame() -> None:
    code = (
        "import sys, tui.app\n"
        "heavy = ('backends.planning', 'backends.gguf', 'tui.plans', 'presets.plan', 'presets.families')\n"
        "print(sorted(name for name in sys.modules if name.startswith(heavy)))"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['tui.plans', 'tui.plans.live']"
