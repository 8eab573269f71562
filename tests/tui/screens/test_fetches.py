"""Models that arrive on the screen: asked about, watched whoever began them, told, and loaded at the right moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backends.jobs import launch
from backends.jobs.job import JobSpec, JobView, Progress, key_of
from presets import remote
from presets.found import Found, Search
from presets.reference import machine_named
from tests.backends.fake_hub import FakeHub, go_online
from tests.tui.fetches import GB, NO_NETWORK, Job, progress, spec_of
from tests.tui.screens.conftest import chat_screen, on_this_machine, settled
from tui.app import DeepseekApp
from tui.chat.session import Session
from tui.screens.chat import ChatScreen
from tui.screens.chat.start import Wish
from tui.screens.fetch import FetchScreen, offer
from tui.widgets.fetch_line import FetchLine
from tui.widgets.lines import Line
from tui.widgets.sidebar import PresetList

PRESET = "14b-q3_k_s-offload"
Steps = Callable[[Pilot[None], Session], Awaitable[None]]


@pytest.fixture(autouse=True)
def _a_clock_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", time.monotonic)
    monkeypatch.setattr("tui.screens.chat.fetching.POLL_S", 0.1)
    monkeypatch.setattr("tui.screens.chat.screen.REFRESH_S", 0.2)


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


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[JobSpec]:
    """What would be fetched; no server is asked and no process started."""
    specs: list[JobSpec] = []

    def start(spec: JobSpec) -> JobView:
        specs.append(spec)
        return JobView(key_of(spec), Path("/nowhere"), 1, spec, Progress(), "running")

    async def ask(_source: object) -> None:
        return None

    monkeypatch.setattr(launch, "start", start)
    monkeypatch.setattr(remote, "ask", ask)
    monkeypatch.setattr(offer, "find_models", lambda *_: Search(()))
    return specs


def on_the_screen(steps: Steps, preset: str = "demo") -> None:
    async def run() -> None:
        async with DeepseekApp(Wish(preset=preset or None)).run_test(size=(120, 34)) as pilot:
            await settled(pilot)
            session = chat_screen(pilot)._session
            assert session is not None
            await steps(pilot, session)
            while len(pilot.app.screen_stack) > 2:
                await pilot.press("escape")
            await pilot.press("ctrl+q")

    asyncio.run(run())


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline, told(pilot)
        await pilot.pause(0.02)


def asked(pilot: Pilot[None]) -> bool:
    return isinstance(pilot.app.screen, FetchScreen)


def told(pilot: Pilot[None]) -> str:
    """All notices in the transcript."""
    screen = pilot.app.screen_stack[1]
    assert isinstance(screen, ChatScreen)
    return "\n".join(f"{one.title}: {one.text}" for one in screen._shown._notices)


def sidebar(pilot: Pilot[None], preset: str) -> str:
    return str(pilot.app.screen_stack[1].query_one(PresetList).get_option(preset).prompt)


def loaded(session: Session, preset: str) -> bool:
    return session.loaded_target is not None and session.loaded_target.preset == preset and not session.loading


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


def first_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "config" / "presets"
    for file in folder.iterdir():
        file.unlink()
    (folder / "starter.toml").write_text('extends = "starter"\nkeep_alive_s = 0.1\n')
    on_this_machine(monkeypatch, machine_named("rtx3070-8gb-32gb"))


def test_at_the_first_start_one_key_fetches_what_fits_best(
    begun: list[JobSpec], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start(home, monkeypatch)

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "Best here: 14B Q3_K_S + offload" in told(pilot))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: begun)
        assert [spec.title for spec in begun] == ["14B Q3_K_S + offload"]
        assert not asked(pilot)
        await until(pilot, lambda: loaded(session, "starter"))

    on_the_screen(steps, "")


def test_at_the_first_start_too_little_room_is_told_instead(
    begun: list[JobSpec], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start(home, monkeypatch)
    monkeypatch.setattr(offer, "free_bytes", lambda _source: 2 * GB)

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "Best here: 14B Q3_K_S + offload" in told(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: asked(pilot) and pilot.app.screen.offer.missing_bytes)  # type: ignore[attr-defined]
        assert not begun

    on_the_screen(steps, "")


def test_once_something_was_asked_enter_with_nothing_typed_does_nothing(
    begun: list[JobSpec], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_start(home, monkeypatch)

    async def steps(pilot: Pilot[None], session: Session) -> None:
        await until(pilot, lambda: "Best here: 14B Q3_K_S + offload" in told(pilot))
        await pilot.press("h", "i", "enter")
        await until(pilot, lambda: session.branch and "Best here" not in told(pilot))
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert not begun
        await pilot.press("escape")
        await until(pilot, lambda: not session.busy)

    on_the_screen(steps, "")


def test_a_chosen_preset_that_is_not_here_is_asked_about_at_the_start_and_another_answers(begun: list[JobSpec]) -> None:
    async def run() -> None:
        async with DeepseekApp(Wish(preset=PRESET)).run_test(size=(120, 34)) as pilot:
            await until(pilot, lambda: asked(pilot))
            session = pilot.app.screen_stack[1]._session  # type: ignore[attr-defined]
            await until(pilot, lambda: loaded(session, "demo"))
            assert "not downloaded" not in told(pilot)
            await pilot.press("escape")
            await pilot.press("ctrl+q")

    asyncio.run(run())
