"""Pictures of the footer and of the view that explains it, of the usage view. See README, "Pictures"."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from backends.base import Loaded
from backends.events import Cost, Done, Energy, Io, Metered, PromptProgress, Reasoning, Text
from backends.hardware.gpu import Gpu, GpuReading
from backends.hardware.memory_holders import MemoryHolder
from backends.hardware.sampler import GpuSampler, Sample
from backends.host import spool
from backends.host.wire import Record, Status
from tests.tui.moments import CARD, GUESSED, LOADED, MEASURED, POINTS, SILENT_CARD, TIMINGS, USAGE
from tests.tui.screens.conftest import BOTH, NOW, THOUGHT, chat_screen, picture
from tui.app import DeepseekApp
from tui.chat import machine, thrash
from tui.chat.answer import fold
from tui.chat.bill import Rates
from tui.chat.machine import Gauges
from tui.chat.storing.receipts import receipt
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.chat.thrash import Short, Strain
from tui.screens.usage import UsageScreen

HOT = msgspec.structs.replace(CARD, celsius=91.0, busy=0.99, throttled=("hot", "power limit"))
QUESTION = "Why is decode memory-bound on an 8 GB card?"
MINE = Rates(price_per_kwh=0.32, currency="EUR", hardware_price=1200.0)


WAYS = {
    "days": (),
    "presets": ("p",),
    "backends": ("right", "right"),
    "chats": ("c",),
    "the month before": ("left_square_bracket",),
}


@pytest.fixture
def machine_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine holds 2.9 GB, and the last minutes are always the same."""
    monkeypatch.setattr(machine, "process_rss", lambda _pid: 2_900_000_000)
    monkeypatch.setattr(Gauges, "lately", lambda _gauges: list(POINTS))


@pytest.fixture
def tariff(home: Path) -> None:
    """A tariff and the price of the hardware, as the user has set them."""
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "config.toml").write_text(
        '[bill]\nprice_per_kwh = 0.32\ncurrency = "EUR"\nhardware_price = 1200\n'
    )


def card(patch: pytest.MonkeyPatch, gpu: Gpu) -> None:
    patch.setattr(GpuSampler, "latest", lambda _sampler: Sample(GpuReading((gpu,)), 0.1))


def answered(energy: Energy | None = None, cost: Cost | None = None, rates: Rates | None = None) -> None:
    """Put a chat with one answer into the store, with what it took."""
    store, answer = Store(rates=rates), new_id()
    store.begin(answer, Asked("14b-q3_k_s-offload", "llama_cpp", "x"), QUESTION)
    events = [Reasoning(THOUGHT, 812), Text("Each token reads all the weights.", 388)]
    end = Done("stop", USAGE, TIMINGS, energy, cost)
    store.finish(answer, fold(Record(answer, n, float(n), event) for n, event in enumerate([*events, end])))
    store.close()


async def on_the_card(pilot: Pilot[None]) -> None:
    """Let the model be one whose 48 layers are on the card."""
    screen = chat_screen(pilot)
    session = screen._session
    assert session is not None
    session._link.status = Status("idle", LOADED)
    screen._settle(session)
    await pilot.pause(0.1)


@BOTH
def test_the_footer_after_an_answer(snap_compare, size, monkeypatch, machine_is_busy, tariff) -> None:
    card(monkeypatch, CARD)
    answered(MEASURED, rates=MINE)
    picture(snap_compare, size, on_the_card)


@BOTH
def test_the_footer_without_a_card_at_an_assumed_tariff(snap_compare, size, machine_is_busy) -> None:
    answered(GUESSED)
    picture(snap_compare, size)


@BOTH
def test_the_footer_of_an_answer_from_a_server_that_is_paid(snap_compare, size) -> None:
    answered(None, Cost(0.0031, "USD", "preset"))
    picture(snap_compare, size)


@BOTH
def test_the_footer_with_focus_on_the_messages(snap_compare, size, tariff) -> None:
    answered(MEASURED, rates=MINE)
    picture(snap_compare, size, *(["tab"] * (3 if size[0] >= 100 else 1)), lambda pilot: pilot.pause(0.1))


@BOTH
def test_the_footer_while_the_model_thinks(snap_compare, size, monkeypatch, machine_is_busy) -> None:
    card(monkeypatch, SILENT_CARD)
    answered(MEASURED)
    picture_while_it_thinks(snap_compare, size, monkeypatch, LOADED, Metered(MEASURED, 210.0))


@BOTH
@pytest.mark.parametrize("written", [0, 12_000_000])
def test_the_footer_while_the_model_streams(snap_compare, size, monkeypatch, machine_is_busy, written: int) -> None:
    card(monkeypatch, SILENT_CARD)
    answered(MEASURED)
    told = [
        Metered(MEASURED, 210.0, None, Io(second * 2_900_000_000, second * 310, 8192 + second * written, 8192, 0))
        for second in range(2)
    ]
    loaded = msgspec.structs.replace(LOADED, memory_read_bytes=9_000_000_000, streamed_bytes=1_400_000_000)
    picture_while_it_thinks(snap_compare, size, monkeypatch, loaded, *told)


@BOTH
def test_memory_that_is_too_small_now(snap_compare, size, monkeypatch, machine_is_busy) -> None:
    short = Short(None, (MemoryHolder("firefox", 4_200_000_000, 12),))
    monkeypatch.setattr(thrash, "why", lambda *_: short)
    answered(MEASURED)

    async def strained(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        session.running.strain = Strain("reads", 6_100_000_000, 0, 0.4)
        await screen._shown.strained(session)
        await pilot.pause(0.1)

    picture(snap_compare, size, strained)


def picture_while_it_thinks(
    snap_compare: Any, size: Any, monkeypatch: pytest.MonkeyPatch, loaded: Loaded, *metered: Metered
) -> None:
    """Take a picture of an answer under way, after what was metered of its last seconds."""
    answer = new_id()
    descriptor = spool.create(answer)
    store = Store()
    store.begin(answer, Asked("demo", "echo", "x"), "And the KV cache?", store.conversations()[0].id)
    store.close()

    async def think(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        assert session.answer is not None
        session._link.status = Status("decode", loaded)
        session.answer.take(Record(answer, 0, 0.0, PromptProgress(900, 900, 800)))
        for number in range(1, 120):
            session.answer.take(Record(answer, number, number / 23.6, Reasoning(f"thought {number} ", 1)))
        for number, one in enumerate(metered):
            session.answer.take(Record(answer, 120 + number, 5.05 + number, one))
        gauges = screen._explaining._gauges
        gauges._before = 1_100_000_000
        monkeypatch.setattr(gauges, "_meet", lambda *_: None)
        screen._explaining.take(session)
        screen._tick()
        screen._show_lines()

    try:
        picture(snap_compare, size, think)
    finally:
        os.close(descriptor)


@BOTH
@pytest.mark.parametrize("part", ["top", "middle", "end"])
def test_every_figure_where_all_is_measured(
    snap_compare, size, part: str, monkeypatch, machine_is_busy, tariff
) -> None:
    card(monkeypatch, CARD)
    answered(MEASURED, rates=MINE)
    picture(snap_compare, size, on_the_card, "f9", *scrolled(part))


def scrolled(part: str) -> list[str]:
    return {"top": [], "middle": ["pagedown", "pagedown"], "end": ["end"]}[part]


@BOTH
@pytest.mark.parametrize("part", ["top", "end"])
def test_every_figure_where_nothing_is_known(snap_compare, size, part: str, monkeypatch) -> None:
    problem = GpuReading(problem="No graphics card found: there is no NVIDIA driver here and no AMD card.")
    monkeypatch.setattr(GpuSampler, "latest", lambda _sampler: Sample(problem, 0.1))
    monkeypatch.setattr(Gauges, "lately", lambda _gauges: [])
    picture(snap_compare, size, "f9", *scrolled(part))


@BOTH
def test_every_figure_while_the_card_is_throttled(snap_compare, size, monkeypatch, machine_is_busy) -> None:
    card(monkeypatch, HOT)
    answered(GUESSED)
    picture(snap_compare, size, on_the_card, "f9", "pagedown", "pagedown")


def receipts() -> None:
    """Put a month's receipts into the store, and one of the month before."""
    store = Store()
    presets = ("14b-q3_k_s-offload", "8b-q4_k_m", "cloud")
    for number in range(12):
        preset = presets[number % 3]
        cloud = preset == "cloud"
        energy = None if cloud else MEASURED if number % 2 else GUESSED
        cost = Cost(0.0031, "USD", "preset") if cloud else None
        at = NOW - number * 43_000 if number < 11 else NOW - 40 * 86_400
        one = receipt(f"r{number}", "answer", at, USAGE, TIMINGS, energy, cost)
        backend = "openai" if cloud else "llama_cpp"
        store.keep(msgspec.structs.replace(one, preset=preset, backend=backend))
    store.close()


async def read(pilot: Pilot[None]) -> None:
    """Wait until the month is read."""
    for _ in range(100):
        await pilot.pause(0.02)
        if isinstance(pilot.app.screen, UsageScreen) and pilot.app.screen._found is not None:
            await pilot.app.workers.wait_for_complete(
                [worker for worker in pilot.app.workers if worker.group == "usage"]
            )
            return
    raise AssertionError("the usage was not read")


@BOTH
@pytest.mark.parametrize("keys", WAYS.values(), ids=WAYS)
def test_the_usage(snap_compare, size, keys: tuple[str, ...]) -> None:
    receipts()
    picture(snap_compare, size, "f9", "u", read, *keys, read)


@BOTH
def test_a_month_in_which_nothing_was_used(snap_compare, size) -> None:
    picture(snap_compare, size, "f9", "u", read)


def test_the_views_close_with_their_keys() -> None:
    async def look() -> None:
        app = DeepseekApp()
        async with app.run_test(size=(100, 30)) as pilot:
            await pilot.pause(0.3)
            names = []
            for key in ("f9", "f9", "f9", "q", "f9", "u", "escape", "escape"):
                await pilot.press(key)
                await pilot.pause(0.1)
                names.append(type(app.screen).__name__)
            chat, figures = "ChatScreen", "FiguresScreen"
            assert names == [figures, chat, figures, chat, figures, "UsageScreen", figures, chat]

    asyncio.run(look())
