"""A preset whose model its Ollama server has not: its host finds out, the screen asks, and then it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backends.jobs import launch
from tests.backends.fake_ollama import FakeOllama
from tests.tui.screens.steps import asked, loaded, on_the_screen, sidebar, told, until
from tui.chat.session import Session
from tui.screens.fetch import FetchScreen

TAG = "deepseek-r1:7b"


pytestmark = pytest.mark.usefixtures("a_clock_that_goes")


@pytest.fixture
def server(home: Path) -> Iterator[FakeOllama]:
    """A server that could fetch the model of a preset on F2."""
    with FakeOllama() as server:
        server.library[TAG] = (2_000_000, 300)
        (home / "config" / "presets" / "served.toml").write_text(
            'title = "Served"\nslot = 1\nbackend = "ollama"\nkeep_alive_s = 0.1\n[model]\nfamily = "deepseek-r1"\n'
            f'quantization = "Q4_K_M"\n[backends.ollama]\nsource = "ollama:{TAG}"\nhost = "{server.url}"\n'
        )
        yield server
        for one in launch.survey():
            assert launch.stop(one.key, force=True)


def question(pilot: Pilot[None]) -> FetchScreen:
    screen = pilot.app.screen
    assert isinstance(screen, FetchScreen)
    return screen


def test_a_model_that_the_server_has_not_is_fetched_by_it_and_loaded(server: FakeOllama) -> None:
    server.layer_s = 0.1

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        found = question(pilot).offer
        assert (found.by_server, found.server, found.repository) == (True, server.host, TAG)
        assert found.size_bytes is None
        await pilot.press("enter")
        await until(pilot, lambda: "fetching" in sidebar(pilot, "served"))
        await until(pilot, lambda: loaded(session, "served"))
        assert f"▼ Served is here: It loads now. Ollama at {server.host} has {TAG}." in told(pilot)

    on_the_screen(steps)
    assert len(server.bodies("/api/pull")) == 1


def test_who_does_not_want_it_fetches_nothing(server: FakeOllama) -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: not asked(pilot))
        assert session.failure is not None
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))

    on_the_screen(steps)
    assert server.bodies("/api/pull") == []


def test_a_fetch_that_fails_says_why_and_is_offered_again(server: FakeOllama) -> None:
    server.library.clear()

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "✗ Served was not fetched" in told(pilot))
        assert "ollama.com/library lists its models" in told(pilot)
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        last = question(pilot).offer.last
        assert last is not None
        assert last.kind == "model_not_found"

    on_the_screen(steps)
