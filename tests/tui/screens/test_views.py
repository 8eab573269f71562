"""The views over the chat: what they show is true, in any width, and costs the line no more than what has changed."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from textual.app import App
from textual.geometry import Region
from textual.pilot import Pilot

from backends.events import DeviceEnergy, Done, Energy, Text, Timings, Usage
from backends.hardware.gpu import GpuReading
from backends.host import spool, unclaimed
from backends.host.wire import Record, encode
from presets.api_prices import load_api_prices
from tests.tui.moments import CARD, everything
from tests.tui.screens.conftest import NOW, chat_screen, settled
from tui.app import DeepseekApp
from tui.chat import recovery
from tui.chat.bill import Rates
from tui.chat.storing.receipts import receipt
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoreError, new_id
from tui.chat.usage import usage
from tui.screens.chat.start import Wish
from tui.screens.figures.content import View
from tui.screens.figures.screen import FiguresScreen
from tui.screens.usage import UsageScreen
from tui.screens.usage.content import content
from tui.screens.usage.reading import Found, Month, read
from tui.widgets.lines import Line, Lines
from tui.widgets.transcript import Transcript

LOADING = Energy(420.5, "measured", None, (DeviceEnergy("GPU 0 RTX 3070", "NVML energy counter", True, load_j=420.5),))
MARCH = Month(2026, 3)


def in_the_app(look: Callable[[Pilot[None]], Awaitable[None]], preset: str = "demo") -> None:
    async def run() -> None:
        async with DeepseekApp(Wish(preset=preset)).run_test(size=(120, 34)) as pilot:
            await settled(pilot)
            await look(pilot)

    asyncio.run(run())


# The usage.


@pytest.fixture
def store(home: Path) -> Store:
    store = Store()
    one = receipt("r", "answer", NOW, Usage(1, 0, 0, 1), Timings(decode_s=1.0), Energy(5.0, "estimated"), None)
    store.keep(one)
    return store


@pytest.mark.parametrize("width", range(-5, 13))
def test_the_usage_is_there_in_any_width(store: Store, width: int) -> None:
    found = Found(usage(store.receipts(), "day", load_api_prices()), load_api_prices(), store.rates)
    assert content(found, MARCH, width).plain


@pytest.mark.parametrize("width", [1, 3, 5, 12])
def test_the_views_open_in_the_narrowest_terminal(store: Store, width: int) -> None:
    async def run() -> None:
        app: App[None] = App()
        async with app.run_test(size=(width, 6)) as pilot:
            for screen in (UsageScreen(store, {}), FiguresScreen(lambda: View(everything()), lambda: None)):
                app.push_screen(screen)
                await pilot.pause(0.3)
            assert isinstance(app.screen, FiguresScreen)

    asyncio.run(run())


def test_what_was_left_behind_is_in_the_month_as_in_that_of_the_command(store: Store) -> None:
    unclaimed.leave("14b", "llama_cpp", "/models/14b.gguf", 12.5, LOADING)
    descriptor = spool.create("left")
    store.begin("left", Asked("14b", "llama_cpp", "x"), "question")
    for seq, event in enumerate((Text("a"), Done("stop", Usage(2, 0, 2, 3), Timings(decode_s=1.0)))):
        os.write(descriptor, encode(Record("left", seq, seq / 10, event)))
    os.close(descriptor)
    total = read(store, MARCH, "day", {}).used.total
    assert (total.answers, total.output_tokens) == (2, 4)
    assert total.energy_uj == 425_500_000


def test_what_cannot_be_taken_in_hides_nothing_that_can_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_store: Store) -> list[str]:
        raise StoreError("The conversations cannot be saved", "disk full", "")

    monkeypatch.setattr(recovery, "take_in_all", full)
    assert read(store, MARCH, "day", {}).used.total.answers == 1


# Every figure.


def test_a_tariff_that_was_set_meanwhile_counts_when_the_figures_open(home: Path) -> None:
    async def look(pilot: Pilot[None]) -> None:
        session = chat_screen(pilot)._session
        assert session is not None
        assert not session.store.rates.tariff_is_set
        (home / "config" / "config.toml").write_text("[bill]\nprice_per_kwh = 0.32\n")
        await pilot.press("f9")
        assert session.store.rates == Rates(price_per_kwh=0.32)
        await pilot.press("escape")
        (home / "config" / "config.toml").write_text("[bill]\nprice_per")
        await pilot.press("f9")
        assert session.store.rates == Rates(price_per_kwh=0.32)

    in_the_app(look)


def test_only_the_lines_that_differ_are_painted_again() -> None:
    painted: list[Region] = []

    async def run() -> None:
        seen = everything()
        app: App[None] = App()
        async with app.run_test(size=(100, 60)) as pilot:
            screen = FiguresScreen(lambda: View(seen), lambda: None)
            app.push_screen(screen)
            await pilot.pause(0.2)
            lines = screen.query_one(Lines)
            refresh = lines.refresh

            def watched(*regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Lines:
                painted.extend(regions)
                assert regions
                return refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

            lines.refresh = watched  # type: ignore[method-assign]
            screen._look_again()
            assert painted == []
            hot = msgspec.structs.replace(CARD, celsius=91.0)
            seen = msgspec.structs.replace(
                seen, machine=msgspec.structs.replace(seen.machine, reading=GpuReading((hot,)))
            )
            screen._look_again()
            await pilot.pause(0.1)
            assert "91 °C" in shown(app)

    asyncio.run(run())
    assert len(painted) == 1


def shown(app: App[None]) -> str:
    """Return what the terminal shows."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def test_at_rest_one_look_in_five_is_shown_and_while_something_happens_each() -> None:
    async def run() -> None:
        views: list[View] = []
        screen = FiguresScreen(lambda: View(everything(), resting=resting), lambda: None)
        screen._show = views.append  # type: ignore[method-assign]
        resting = False
        for _ in range(10):
            screen._look_again()
        assert len(views) == 10
        resting = True
        for _ in range(25):
            screen._look_again()
        assert len(views) == 10 + 3 + 5

    asyncio.run(run())


# Over the chat.


def test_under_another_screen_the_chat_stands_still_and_is_right_when_that_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = new_id()
    descriptor = spool.create(answer)
    store = Store()
    store.begin(answer, Asked("demo", "echo", "x"), "And the KV cache?")
    store.close()

    async def look(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        assert session.answer is not None
        await pilot.press("f1")
        await pilot.pause(0.1)
        changes: list[object] = []
        transcript = screen.query_one(Transcript)
        with monkeypatch.context() as patch:
            patch.setattr(transcript, "put", changes.append)
            patch.setattr(Line, "say", lambda *_: changes.append("line"))
            taken = len(screen._explaining._gauges.course.points(time.monotonic()))
            session.answer.take(Record(answer, 0, 0.0, Text("the words that came meanwhile")))
            await pilot.pause(1.2)
            assert changes == []
            assert len(screen._explaining._gauges.course.points(time.monotonic())) > taken
        screen._say("said under it")
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert "the words that came meanwhile" in shown(pilot.app)
        assert "said under it" in shown(pilot.app)

    try:
        in_the_app(look)
    finally:
        os.close(descriptor)


def test_an_answer_that_ends_under_another_screen_is_whole_when_that_closes() -> None:
    async def look(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        await pilot.press(*"hello", "enter", "f1")
        deadline = time.monotonic() + 10
        while session.busy or not session.branch or session.branch[-1].state != "done":
            assert time.monotonic() < deadline
            await pilot.pause(0.05)
        await pilot.pause(0.3)
        assert screen._ticking is not None
        assert not screen._ticking._active.is_set()
        await pilot.press("escape")
        await pilot.pause(0.2)
        assert re.search(r"hello[\s\S]*hello[\s\S]*saved", shown(pilot.app))
        assert not screen._ticking._active.is_set()

    in_the_app(look)
