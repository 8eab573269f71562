"""Models that arrive on the screen: asked about, watched whoever began them, told, and loaded at the right moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backends.jobs import launch
from backends.jobs.job import JobSpec
from presets.found import Found, Search
from tests.backends.fake_hub import FakeHub, go_online
from tests.tui.fetches import GB, NO_NETWORK, Job, progress, spec_of
from tests.tui.screens.conftest import chat_screen
from tests.tui.screens.steps import asked, loaded, on_the_screen, sidebar, told, until
from tui.chat.session import Session
from tui.screens.fetch import offer
from tui.widgets.fetch_line import FetchLine
from tui.widgets.lines import Line

PRESET = "14b-q3_k_s-offload"
pytestmark = pytest.mark.usefixtures("a_clock_that_goes")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with the file of a preset on F2 that needs no engine."""
    with FakeHub() as hub:
        go_online(monkeypatch, hub.root)
        hub.publish("one.gguf", b"GGUF" + bytes(400_000), tmp_path)
        (home / "config" / "presets" / "far.toml").write_text(
            'title = "Far"\nslot = 1\nbackend = "echo"\nkeep_alive_s = 0.1\n[model]\nfamily = "echo"\n'
            'quantization = "none"\n[backends.echo]\nsource = "hf:me/some/one.gguf"\n'
        )
        yield hub
    for one in launch.survey():
        assert launch.stop(one.key, force=True)


def test_a_question_that_stands_is_answered_before_the_next_is_asked(hub: FakeHub, begun: list[JobSpec]) -> None:
    async def steps(pilot: Pilot[None], _session: Session) -> None:
        offering = chat_screen(pilot)._offering
        assert offering.offer(PRESET)
        assert offering.offer(PRESET)  # a key pressed twice asks once
        await until(pilot, lambda: asked(pilot))
        assert offering.offer("far")  # a load that failed meanwhile
        await pilot.pause(0.2)
        await pilot.press("enter")
        await until(pilot, lambda: begun)
        await until(pilot, lambda: asked(pilot) and pilot.app.screen.offer.title == "Far")
        await pilot.press("escape")
        await until(pilot, lambda: not asked(pilot))

    on_the_screen(steps)
    assert [spec.title for spec in begun] == ["14B Q3_K_S + offload"]


def test_what_was_fetched_is_loaded_by_itself_where_nothing_was_asked_meanwhile(hub: FakeHub) -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        await pilot.press("y")  # as in every question
        await until(pilot, lambda: loaded(session, "far"))
        assert "▼ Far is here: It loads now." in told(pilot)

    on_the_screen(steps)


def test_who_asks_something_meanwhile_is_told_the_key_instead(hub: FakeHub) -> None:
    hub.bytes_per_s = 300_000

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        await pilot.press("enter")
        await session.send("hello")
        await until(pilot, lambda: "fetching" in sidebar(pilot, "far"))
        await until(pilot, lambda: "▼ Far is here: F2 loads it." in told(pilot))
        assert loaded(session, "demo")
        await pilot.press("f2")
        await until(pilot, lambda: loaded(session, "far"))

    on_the_screen(steps)


def test_choosing_what_is_on_its_way_loads_it_when_it_is_here(hub: FakeHub) -> None:
    hub.bytes_per_s = 300_000

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        await pilot.press("enter")
        await session.send("hello")
        await pilot.press("f2")
        await pilot.pause(0.1)
        assert not asked(pilot)
        assert pilot.app.screen.query_one("#progress", Line).text.startswith(
            "Far loads when it is here. ^p, then Stop, ends it"
        )
        await until(pilot, lambda: loaded(session, "far"))

    on_the_screen(steps)


def test_who_chooses_another_meanwhile_keeps_that(hub: FakeHub) -> None:
    hub.bytes_per_s = 300_000

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        await pilot.press("enter")
        await pilot.press("f6")
        await until(pilot, lambda: "▼ Far is here: F2 loads it." in told(pilot))
        await pilot.pause(0.3)
        assert loaded(session, "demo")

    on_the_screen(steps)


def test_a_fetch_is_stopped_from_the_palette_and_gone_on_with_by_its_key(hub: FakeHub) -> None:
    hub.bytes_per_s = 60_000

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        await pilot.press("enter")
        screen = chat_screen(pilot)
        await until(pilot, lambda: any(view.progress.done_bytes for view in screen._fetching.running))
        stop = {command.title: command for command in screen.get_commands()}["Stop fetching Far"]
        stop.callback()
        await until(pilot, lambda: "▼ Far: stopped: 0 MB are here and stay: F2 goes on from there." in told(pilot))
        assert "stopped at" in sidebar(pilot, "far")
        assert not any("Stop fetching" in command.title for command in screen.get_commands())
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot))
        assert pilot.app.screen.offer.here_bytes > 0  # type: ignore[attr-defined]

    on_the_screen(steps)


def test_a_fetch_that_fails_is_told_with_what_to_do(hub: FakeHub) -> None:
    hub.files.clear()

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f2")
        await until(pilot, lambda: asked(pilot) and pilot.app.screen.offer.trouble is not None)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await until(pilot, lambda: "✗ Far was not fetched: me/some has no file one.gguf." in told(pilot))
        assert "Check owner, repository and file" in told(pilot)
        assert loaded(session, "demo")

    on_the_screen(steps)


def test_a_fetch_that_another_began_is_seen_everywhere_and_gone_when_it_ends() -> None:
    job = Job(spec_of(PRESET), progress())

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "fetching 46 % · 42 MB/s" in sidebar(pilot, PRESET))
        assert pilot.app.screen.query_one("#progress", Line).text.endswith("3.1/6.7 GB · 42 MB/s · 1 min 25 s")
        for key in ("f1", "f8", "f9"):
            await pilot.press(key)
            await until(pilot, lambda: pilot.app.screen.query(FetchLine))
            assert "3.1/6.7 GB" in pilot.app.screen.query_one(FetchLine).text
            await pilot.press("escape")
        await pilot.press("f8")
        await until(pilot, lambda: pilot.app.screen.query(FetchLine))
        job.tell(progress(state="failed", error=NO_NETWORK))
        await until(pilot, lambda: not pilot.app.screen.query(FetchLine))
        await pilot.press("escape")
        await until(pilot, lambda: "failed at 46 %" in sidebar(pilot, PRESET))
        assert "▼" not in pilot.app.screen.query_one("#progress", Line).text
        assert "✗ 14B Q3_K_S + offload was not fetched: huggingface.co cannot be found." in told(pilot)

    on_the_screen(steps)


def test_what_ended_while_no_screen_was_there_is_told_once() -> None:
    Job(spec_of(PRESET), progress(state="failed", error=NO_NETWORK))
    Job(spec_of("8b-q4_k_m"), progress(state="done"))  # and was removed since
    seen: list[str] = []

    async def steps(pilot: Pilot[None], session: Session) -> None:
        seen.append(told(pilot))

    on_the_screen(steps)
    on_the_screen(steps)
    assert ["was not fetched" in one for one in seen] == [True, False]
    assert not any("is here" in one for one in seen)


def test_a_job_whose_process_was_killed_says_so() -> None:
    job = Job(spec_of(PRESET), progress())

    async def steps(pilot: Pilot[None], session: Session) -> None:
        job.let_go()
        await until(pilot, lambda: "Its process was killed, or ended with the machine." in told(pilot))
        assert "3.1 GB are here and stay: F3 goes on from there." in told(pilot)
        assert "interrupted at 46 %" in sidebar(pilot, PRESET)

    on_the_screen(steps)


def test_only_while_something_is_fetched_is_it_looked_every_second() -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        timer = chat_screen(pilot)._fetching._timer
        assert timer is not None
        assert not timer._active.is_set()
        job = Job(spec_of(PRESET), progress())
        await until(pilot, timer._active.is_set)
        job.tell(progress(state="stopped"))
        await until(pilot, lambda: not timer._active.is_set())

    on_the_screen(steps)


def test_too_little_room_is_no_answer_to_enter_and_f_goes_on_all_the_same(
    begun: list[JobSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "free_bytes", lambda _source: 2 * GB)

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f3")
        await until(pilot, lambda: asked(pilot) and pilot.app.screen.offer.missing_bytes)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await pilot.pause(0.1)
        assert asked(pilot)
        assert not begun
        await pilot.press("f")
        await until(pilot, lambda: begun)
        assert begun[0].work["force"] is True

    on_the_screen(steps)


def test_esc_fetches_nothing(begun: list[JobSpec]) -> None:
    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f3")
        await until(pilot, lambda: asked(pilot))
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert not begun
        assert not asked(pilot)

    on_the_screen(steps)


def test_a_model_that_another_program_keeps_is_used_where_it_lies(
    begun: list[JobSpec], home: Path, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = Found("LM Studio", "me/one.gguf", starter_gguf, starter_gguf.stat().st_size, paths=(starter_gguf,))
    monkeypatch.setattr(offer, "find_models", lambda *_: Search((same,)))
    monkeypatch.setattr(offer, "match", lambda *_: same)
    (home / "config" / "presets" / f"{PRESET}.toml").write_text(f'extends = "{PRESET}"\nkeep_alive_s = 0.1\n')

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await pilot.press("f3")
        await until(pilot, lambda: asked(pilot) and pilot.app.screen.offer.elsewhere is not None)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await until(pilot, lambda: session.target is not None and session.target.preset == PRESET)
        assert session.target is not None
        assert session.target.spec.model == str(starter_gguf)
        await until(pilot, lambda: loaded(session, PRESET))
        assert not begun

    on_the_screen(steps)
