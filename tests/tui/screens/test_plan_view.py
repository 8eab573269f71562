"""The plan view and the sidebar's plans: true, in any width, live, and by their keys."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.geometry import Region
from textual.pilot import Pilot

from backends.base import Loaded
from backends.hardware import calibration
from backends.hardware.disk import Disk
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.sampler import GpuSampler, Sample
from backends.host.wire import Status
from presets.catalog import find, load_catalog
from presets.plan import PresetPlan, plan_preset
from presets.reference import machine_named, machine_names
from presets.sources import Located
from tests.gguf_files import QWEN_14B, sparse_model
from tests.tui.screens.conftest import chat_screen, on_this_machine, settled
from tui.app import DeepseekApp
from tui.chat.session import Session
from tui.plans import live, looking
from tui.plans.looking import Holder
from tui.screens.chat import ChatScreen
from tui.screens.chat.planning import REFUSED
from tui.screens.chat.start import Wish
from tui.screens.plan.bars import LOOKS, bars, cells
from tui.screens.plan.content import View, content
from tui.screens.plan.screen import PlanScreen
from tui.widgets.lines import Lines
from tui.widgets.sidebar import PresetList

GB = 10**9
MACHINE = machine_named("rtx3070-8gb-32gb")
CROWDED = msgspec.structs.replace(MACHINE, gpus=(msgspec.structs.replace(MACHINE.gpus[0], free_bytes=5 * GB),))
UNMEASURED = msgspec.structs.replace(MACHINE, bandwidth=None, disk=Disk("nvme"))


def planned(name: str = "14b-q3_k_s-offload", machine: object = MACHINE) -> PresetPlan:
    plan = plan_preset(find(load_catalog(), name), machine)  # type: ignore[arg-type]
    return msgspec.structs.replace(plan, located=Located(present=True, model="m"))


# The bars.


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=7), st.integers(0, 120))
def test_a_bar_is_as_wide_as_its_room_and_every_part_of_it_to_scale(sizes: list[int], width: int) -> None:
    parts = [(kind, size) for kind, size in zip(LOOKS, sizes, strict=False)]
    found = cells(parts, width)
    assert [kind for kind, _ in found] == [kind for kind, _ in parts]
    total = sum(sizes)
    if not total or not width:
        assert not any(count for _, count in found)
        return
    assert sum(count for _, count in found) == width
    for (kind, size), (_, count) in zip(parts, found, strict=True):
        assert abs(count - size / total * width) <= len(parts) + 1
        if size and kind != "free" and width >= 2 * len(parts):
            assert count


def test_the_kinds_of_bytes_are_told_apart_without_colours() -> None:
    assert len({look.block for look in LOOKS.values()}) == len({look.ascii for look in LOOKS.values()}) == len(LOOKS)
    assert all(look.ascii.isascii() for look in LOOKS.values())


@pytest.mark.parametrize("machine", machine_names())
def test_the_parts_of_each_bar_are_all_there_is(machine: str) -> None:
    here = machine_named(machine)
    for bar in bars(planned("32b-mixed-ssd", here), here):
        assert sum(size for _, size in bar.parts) == bar.whole
        assert bar.used <= bar.whole


def test_what_is_free_on_a_card_and_unknown_is_not_drawn() -> None:
    silent = msgspec.structs.replace(MACHINE, gpus=(msgspec.structs.replace(MACHINE.gpus[0], free_bytes=None),))
    vram = bars(planned(machine=silent), silent)[0]
    assert "others" not in dict(vram.parts)


# The text.


@pytest.mark.parametrize("width", [-5, 0, 1, 5, 12, 35, 50, 75, 107, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_line_is_wider_than_its_room(width: int, ascii_only: bool) -> None:
    for machine in (CROWDED, machine_named("cpu-only"), UNMEASURED):
        view = View("14B", machine, planned(machine=machine), "F3", 2, 7, said="Measuring the memory, once: 4 s …")
        lines = content(view, width, ascii_only=ascii_only).plain.split("\n")
        assert lines
        if width >= 35:
            assert max(map(len, lines)) <= width
    assert content(View("x"), width).plain


def test_everything_is_there_that_a_plan_says() -> None:
    plan = planned(machine=CROWDED)
    assert plan.fit is not None
    text = " ".join(content(View("14B Q3_K_S", CROWDED, plan), 107).plain.split())
    for told in (
        "NVIDIA GeForce RTX 3070, 5.0 GB free of 8.6 GB · 448 GB/s published", "predicted published measured",
        f"layers on the card {plan.fit.gpu_layers}/48 28 –", "tokens/s", "9–12", "others' 3.6 GB", "margin 268 MB",
        "Why", "What could be otherwise", "16k context →", "What the figures rest on", "exact", "assumed",
    ):  # fmt: skip
        assert told in text, told


def test_in_ascii_nothing_but_ascii_is_in_the_bars() -> None:
    lines = content(View("x", CROWDED, planned(machine=CROWDED)), 100, ascii_only=True).plain.split("\n")
    drawn = [line for line in lines if line.lstrip().startswith(("VRAM [", "RAM  ["))]
    assert len(drawn) == 2
    assert all(line.isascii() for line in drawn)


def test_what_is_in_memory_now_and_what_is_only_tried_is_said() -> None:
    loaded = Loaded(8192, layers=48, gpu_layers=30, output_on_gpu=True)
    text = " ".join(content(View("x", MACHINE, planned(), loaded=loaded, own_context=4096), 107).plain.split())
    assert "In memory now: 30/48 layers on the card, context 8k." in text
    assert "Tried with a context of 8k: the preset has 4k, and Enter loads it with that." in text


def test_text_from_a_preset_or_a_driver_cannot_steer_the_terminal() -> None:
    hostile = "\x1b[31m[/x]\u202e\n"
    card = msgspec.structs.replace(MACHINE.gpus[0], name=hostile)
    machine = msgspec.structs.replace(MACHINE, gpus=(card,), notes=(hostile,), title=hostile)
    plan = msgspec.structs.replace(planned(), title=hostile, family=hostile, warnings=(hostile,), problem=hostile)
    text = content(View(hostile, machine, plan, said=hostile), 80).plain
    assert not any(character in text for character in "\x1b\u202e")


# In the running screen.


def in_the_app(look: Callable[[Pilot[None], ChatScreen], Awaitable[None]], *, plans: bool = True) -> None:
    async def run() -> None:
        async with DeepseekApp(Wish(preset="demo")).run_test(size=(120, 34)) as pilot:
            if plans:
                await settled(pilot)
            await look(pilot, chat_screen(pilot))
            await pilot.press("ctrl+q")

    asyncio.run(run())


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await pilot.pause(0.02)


def shown(pilot: Pilot[None]) -> str:
    return "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())


@pytest.fixture
def mine(home: Path) -> None:
    """A 14B of the user's on F3, of its true size."""
    file = sparse_model(home / "14b.gguf", QWEN_14B, "Q4_K_M", small_vocabulary=True)
    (home / "config" / "presets" / "mine.toml").write_text(
        'title = "14B of mine"\nslot = 2\nbackend = "llama_cpp"\ncontext = 8192\n'
        '[model]\nfamily = "DeepSeek-R1-Distill-Qwen-14B"\nquantization = "Q4_K_M"\n'
        f'[backends.llama_cpp]\nsource = "file:{file}"\n'
    )


def test_the_sidebar_and_the_view_follow_what_others_take(mine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.0)

    def driver_says(free_bytes: int) -> None:
        gpu = Gpu(0, "RTX 3070", 8 * 1024**3, 8 * 1024**3 - free_bytes, free_bytes, 0)
        monkeypatch.setattr(GpuSampler, "latest", lambda _sampler: Sample(GpuReading((gpu,)), 0.1))

    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        driver_says(8 * GB)
        screen._planning.look()
        before = next(line for line in shown(pilot).split("\n") if "/48 layers" in line)
        await pilot.press("f8", "f3")
        on_this_machine(monkeypatch, CROWDED)
        driver_says(5 * GB)
        await until(pilot, lambda: "others' 3.6 GB" in shown(pilot))
        await pilot.press("escape")
        await pilot.pause()
        after = next(line for line in shown(pilot).split("\n") if "/48 layers" in line)
        assert int(after.split("/48")[0].split()[-1]) < int(before.split("/48")[0].split()[-1])

    in_the_app(look)


def test_a_model_in_memory_shows_the_layers_that_it_has(mine: None) -> None:
    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        session, target = screen._session, screen._presets.target("mine")
        assert session is not None
        session._link.target = target
        session._link.status = Status("idle", Loaded(8192, layers=48, gpu_layers=11, output_on_gpu=True))
        screen._settle(session)
        lines = {line.name: line for line in screen.query_one(PresetList)._now_shown}
        assert (lines["mine"].detail, lines["mine"].mark) == ("11/48 layers", "loaded")
        await pilot.press("f8", "f3")
        assert "In memory now: 11/48 layers on the card" in shown(pilot)

    in_the_app(look)


def test_the_keys_of_the_view_go_through_the_presets_and_close_it(mine: None) -> None:
    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("f8")
        view = pilot.app.screen
        assert isinstance(view, PlanScreen)
        assert "Demo · echo" in shown(pilot)
        first = view._at
        await pilot.press("right")
        assert view._at == (first + 1) % len(view._entries)
        await pilot.press("left", "left", "tab")
        assert view._at == first
        await pilot.press("f3")
        assert "14B of mine · llama.cpp" in shown(pilot)
        for key in ("escape", "f8", "f8", "f8", "q"):
            await pilot.press(key)
        assert pilot.app.screen is screen

    in_the_app(look)


def test_another_context_is_tried_for_the_view_alone(mine: None) -> None:
    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        await pilot.press("f8", "f3", "plus")
        await until(pilot, lambda: "Tried with a context of 16k" in shown(pilot))
        await pilot.press("plus")
        await until(pilot, lambda: "Tried with a context of 32k" in shown(pilot))
        await pilot.press("minus", "minus")
        await until(pilot, lambda: "Tried" not in shown(pilot))
        assert "8k" in shown(pilot)

    in_the_app(look)


def test_enter_loads_the_preset_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []

    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        screen._planning._choose = chosen.append
        await pilot.press("f8", "f6", "enter")
        await pilot.pause()
        assert pilot.app.screen is screen
        assert chosen == ["demo"]

    in_the_app(look)


def test_at_rest_nothing_is_painted(mine: None) -> None:
    async def look(pilot: Pilot[None], _screen: ChatScreen) -> None:
        await pilot.press("f8", "f3")
        await pilot.pause(0.1)
        view = pilot.app.screen
        assert isinstance(view, PlanScreen)
        painted: list[Region] = []
        lines = view.query_one(Lines)
        lines.refresh = lambda *regions, **_: painted.extend(regions) or lines  # type: ignore[assignment,method-assign,func-returns-value]
        for _ in range(5):
            view.look()
        await pilot.pause(0.1)
        assert painted == []

    in_the_app(look)


def test_m_measures_a_machine_that_never_was(monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch, UNMEASURED)
    measured: list[object] = []
    done = threading.Event()

    def calibrate(machine: object, files: object, say: Callable[[str], None]) -> None:
        measured.append(machine)
        say("Measuring the memory, once: 4 s …")
        on_this_machine(monkeypatch, MACHINE)
        done.wait(10)

    monkeypatch.setattr(calibration, "calibrate", calibrate)

    async def look(pilot: Pilot[None], _screen: ChatScreen) -> None:
        await pilot.press("f8")
        assert "m measures this machine once, 5 s" in shown(pilot)
        await pilot.press("m", "m")
        await until(pilot, lambda: "Measuring the memory" in shown(pilot))
        done.set()
        await until(pilot, lambda: "51.2 GB/s" in shown(pilot) and "Measured." in shown(pilot))
        await pilot.press("m")
        await until(pilot, lambda: "This machine was measured already." in shown(pilot))
        assert measured == [UNMEASURED]

    in_the_app(look)


def test_m_is_refused_while_a_model_works(monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch, UNMEASURED)

    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        session = screen._session
        assert session is not None
        session._link.status = Status("loading")
        await pilot.press("f8", "m")
        await until(pilot, lambda: REFUSED.split(",")[0] in shown(pilot))

    in_the_app(look)


def test_before_a_model_loads_it_is_said_who_is_in_the_way(mine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch, CROWDED)
    monkeypatch.setattr(looking, "holders", lambda *_: (Holder(1234, "python3", 3 * GB),))

    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        session, target = screen._session, screen._presets.target("mine")
        assert session is not None
        assert target is not None
        session.target = target
        session._link.status = Status("loading")
        screen._planning.take(session)
        await until(pilot, lambda: "14B of mine: before it loads" in shown(pilot))
        text = " ".join(shown(pilot).replace("│", " ").split())
        assert "python3 (1234)" in text
        assert "layers on the card: others hold" in text

    in_the_app(look)


def test_who_changes_his_mind_while_a_model_loads_is_told_of_the_next_one(
    mine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_this_machine(monkeypatch, CROWDED)
    monkeypatch.setattr(looking, "holders", lambda *_: ())

    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        session = screen._session
        assert session is not None
        session._link.status = Status("loading")
        screen._planning.take(session)
        session.target = screen._presets.target("mine")
        screen._planning.take(session)
        await until(pilot, lambda: "14B of mine: before it loads" in shown(pilot))

    in_the_app(look)


def test_nothing_is_said_of_a_model_that_is_there_already(mine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch, CROWDED)

    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        session = screen._session
        assert session is not None
        session.target = screen._presets.target("mine")
        session._link.status = Status("idle", Loaded(8192))
        screen._planning.take(session)
        await pilot.pause(0.3)
        assert "before it loads" not in shown(pilot)

    in_the_app(look)


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        ("rtx3070-8gb-32gb", r"The plan predicts ~\d+ tok/s with \d\d/48 layers on the card: F8 says why\."),
        ("cpu-only", r"The plan puts nothing on a card: F8 says why\."),
    ],
)
def test_the_figures_have_the_prediction_beside_what_is_measured(
    mine: None, monkeypatch: pytest.MonkeyPatch, machine: str, says: str
) -> None:
    on_this_machine(monkeypatch, machine_named(machine))
    monkeypatch.setattr(Session, "loaded_target", property(lambda session: session.target))

    async def look(pilot: Pilot[None], screen: ChatScreen) -> None:
        assert screen._session is not None
        screen._session.target = screen._presets.target("mine")
        await pilot.press("f9")
        assert re.search(says, " ".join(pilot.app.screen.query_one(Lines).render().plain.split()))

    in_the_app(look)
