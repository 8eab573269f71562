"""Pictures of models that arrive: the question, the way, how it ended, and the first start. See README, "Pictures"."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from backends.errors import ErrorInfo
from backends.hardware.disk import Disk
from backends.hardware.machine import Machine
from backends.jobs.job import JobSpec, Progress
from backends.ollama.wanted import OllamaPull
from presets import building, remote
from presets.built import built_file
from presets.catalog import find, load_catalog
from presets.found import Found, Search
from presets.reference import machine_named
from tests.tui.fetches import GATED, GB, MB, NO_NETWORK, Job, progress, spec_of
from tests.tui.screens.conftest import BOTH, WHOLE, chat_screen, on_this_machine, picture, said
from tui.screens.chat import fetching
from tui.screens.fetch import offer
from tui.screens.fetch.screen import FetchScreen

PRESET = "14b-q3_k_s-offload"
MACHINE = machine_named("rtx3070-8gb-32gb")
STORE = Path("/usr/share/ollama/.ollama/models/blobs/sha256-d17e")
IN_OLLAMA = Found("Ollama", "deepseek-r1:14b-q3_k_s", STORE, 6_659_596_224)
REPO = "bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF"
SPARE = Found("deepseek-tui", f"{REPO}/DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf", Path("/m/32b.gguf"), 19_851_336_192)


def with_disk(machine: Machine, free_bytes: int | None = 412 * GB) -> Machine:
    return msgspec.structs.replace(machine, disk=msgspec.structs.replace(machine.disk, free_bytes=free_bytes))


@pytest.fixture(autouse=True)
def _one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same disk, models and answers of a server in every picture."""
    monkeypatch.setattr(offer, "shown_path", lambda _path: "~/.local/share/deepseek-tui/models")
    monkeypatch.setattr(offer, "disk_under", lambda _folder: Disk(free_bytes=120 * GB))
    monkeypatch.setattr(offer, "find_models", lambda *_: Search(()))
    monkeypatch.setattr(fetching, "POLL_S", 3600.0)
    answers(monkeypatch, None)


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    begun: list[Job] = []
    yield begun
    for one in begun:
        one.let_go()


def answers(patch: pytest.MonkeyPatch, trouble: ErrorInfo | None) -> None:
    async def ask(_source: object) -> ErrorInfo | None:
        return trouble

    patch.setattr(remote, "ask", ask)


async def until(pilot: Pilot[None], true: Callable[[], bool]) -> None:
    """Wait until something is true, and until it is laid out: a line less moves the box."""
    deadline = time.monotonic() + 15
    while not true():
        assert time.monotonic() < deadline
        await pilot.pause(0.02)
    before: list[str] = []
    while (now := [strip.text for strip in pilot.app.screen._compositor.render_strips()]) != before:
        assert time.monotonic() < deadline
        before = now
        await pilot.pause(0.1)


async def known(pilot: Pilot[None]) -> None:
    """Wait until the question has heard of everything."""

    def told() -> bool:
        screen = pilot.app.screen
        if not isinstance(screen, FetchScreen):
            return False
        return bool(not screen.offer.asking and screen.offer.free_bytes and screen.offer.expected)

    await until(pilot, told)


@BOTH
def test_the_question_before_a_fetch(snap_compare, size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.chat.offering.last_rate", lambda: 42e6)
    picture(snap_compare, size, "f3", known)


@BOTH
def test_the_question_where_there_is_too_little_room(snap_compare, size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offer, "disk_under", lambda _folder: Disk(free_bytes=5 * GB))
    monkeypatch.setattr(offer, "find_models", lambda *_: Search((SPARE,)))
    picture(snap_compare, size, "f3", known)


@BOTH
def test_the_question_where_another_program_has_the_model(snap_compare, size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offer, "find_models", lambda *_: Search((IN_OLLAMA,)))
    monkeypatch.setattr(offer, "match", lambda *_: IN_OLLAMA)
    picture(snap_compare, size, "f3", known)


def test_the_question_where_a_server_of_ollama_s_would_fetch(snap_compare) -> None:
    async def question(pilot: Pilot[None]) -> None:
        entry = find(load_catalog(), "8b-q4_k_m")
        pull = OllamaPull("http://127.0.0.1:11434", "deepseek-r1:8b-0528-qwen3-q4_K_M")
        found = offer.with_room(offer.offer_by_server(entry, pull), 120 * GB)
        await pilot.app.push_screen(FetchScreen(found))
        await pilot.pause(0.1)

    picture(snap_compare, (80, 24), question)


def test_the_question_where_the_server_refuses(snap_compare, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, GATED)
    picture(snap_compare, (80, 24), "f3", known)


def test_the_question_after_a_try_that_failed(snap_compare, monkeypatch: pytest.MonkeyPatch, jobs: list[Job]) -> None:
    answers(monkeypatch, NO_NETWORK)
    jobs.append(Job(spec_of(PRESET), progress(state="failed", error=NO_NETWORK)))
    picture(snap_compare, (120, 34), "f3", known)


async def looked(pilot: Pilot[None]) -> None:
    await chat_screen(pilot)._fetching.look()
    await pilot.pause()


@BOTH
def test_a_fetch_on_its_way_beside_a_conversation(snap_compare, size, jobs: list[Job]) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    jobs.append(Job(spec_of(PRESET), progress()))
    picture(snap_compare, size)


def test_two_fetches_in_the_unfolded_sidebar_of_a_narrow_terminal(snap_compare, jobs: list[Job]) -> None:
    jobs.append(Job(spec_of(PRESET), progress()))
    waits = progress(stage="queued", done_bytes=0, total_bytes=4_900 * MB, bytes_per_s=None, left_s=None)
    jobs.append(Job(spec_of("8b-q4_k_m"), waits))
    picture(snap_compare, (80, 24), "ctrl+l")


@pytest.mark.parametrize(("view", "size"), [("f1", (80, 24)), ("f8", (120, 34)), ("f9", (80, 24))])
def test_a_fetch_on_its_way_under_a_view(snap_compare, size, view: str, jobs: list[Job]) -> None:
    jobs.append(Job(spec_of(PRESET), progress()))

    async def look_under(pilot: Pilot[None]) -> None:
        screen = pilot.app.screen_stack[-2]
        await screen._fetching.look()  # type: ignore[attr-defined]
        await pilot.pause(0.1)

    picture(snap_compare, size, view, look_under)


ENDED: dict[str, Progress] = {
    "done": progress(state="done", stage="done", done_bytes=6_700 * MB, note="Verified."),
    "gated": Progress("failed", "asking", error=GATED, updated_at=1_772_485_500.0),
    "no network": progress(state="failed", error=NO_NETWORK),
}


@BOTH
@pytest.mark.parametrize("told", ENDED.values(), ids=ENDED)
def test_how_a_fetch_ended(snap_compare, size, told: Progress, jobs: list[Job]) -> None:
    said(("Why is decode memory-bound on an 8 GB card?", WHOLE))
    jobs.append(Job(spec_of(PRESET), progress()))

    async def end(pilot: Pilot[None]) -> None:
        jobs[0].tell(told)
        await looked(pilot)

    picture(snap_compare, size, end)


FIRST: dict[str, Machine] = {
    "a card": with_disk(MACHINE),
    "no card": with_disk(machine_named("cpu-only")),
}


async def advised(pilot: Pilot[None]) -> None:
    def told() -> bool:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        loaded = session.status is not None and session.status.loaded is not None and not session.loading
        return loaded and screen._first._others is not None

    await until(pilot, told)
    await pilot.pause(0.1)


@BOTH
@pytest.mark.parametrize("machine", FIRST.values(), ids=FIRST)
def test_the_first_start(snap_compare, size, machine: Machine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "config" / "presets"
    for file in folder.iterdir():
        file.unlink()
    (folder / "starter.toml").write_text('extends = "starter"\nkeep_alive_s = 0.1\n')
    on_this_machine(monkeypatch, machine)
    picture(snap_compare, size, advised, preset="")


@BOTH
def test_what_can_be_made_here_instead(snap_compare, size, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "seconds_to_make", lambda _entry: 912.0)
    on_this_machine(monkeypatch, with_disk(MACHINE))

    async def told(pilot: Pilot[None]) -> None:
        await known(pilot)
        await until(pilot, lambda: isinstance(pilot.app.screen, FetchScreen) and bool(pilot.app.screen.offer.build_s))

    picture(snap_compare, size, "f4", told)


@BOTH
def test_a_model_that_is_made_meanwhile(snap_compare, size, jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch, with_disk(MACHINE))
    target = built_file("DeepSeek-R1-Distill-Qwen-32B", "mixed-4-3")
    midway = progress(stage="quantizing", note="blk.31.ffn_down 412 of 771", left_s=362.0)
    jobs.append(Job(JobSpec("quantize", str(target), "Qwen-32B mixed-4-3"), midway))
    picture(snap_compare, size)
