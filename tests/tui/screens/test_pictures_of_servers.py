"""Pictures of what servers bring: a new one, one to start, backends that cannot be used, a share of a card."""

from __future__ import annotations

import msgspec
from textual.pilot import Pilot

from backends.base import Loaded
from backends.host.wire import Status
from tests.tui.screens.conftest import BOTH, chat_screen, picture
from tui.chat.switching import Refusal
from tui.screens.chat import notices
from tui.screens.question import QuestionScreen

REFUSALS = (
    Refusal("exllamav2", "There is no NVIDIA card here.", "It needs one, and CUDA."),
    Refusal("ollama", "127.0.0.1:11434 does not answer: Nothing listens there.", "Start it: `ollama serve`."),
    Refusal(
        "openai", "gpu-box:8000 does not answer: It took too long to connect.", "Is it on, and reachable from here?"
    ),
)


async def asked(pilot: Pilot[None]) -> None:
    while not isinstance(pilot.app.screen, QuestionScreen):
        await pilot.pause(0.02)


@BOTH
def test_a_new_server_that_is_not_encrypted(snap_compare, size: tuple[int, int]) -> None:
    async def ask(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        screen.run_worker(screen._mending.confirmed("http://gpu-box:8000"))
        await asked(pilot)

    picture(snap_compare, size, ask)


@BOTH
def test_a_server_that_can_be_started(snap_compare, size: tuple[int, int]) -> None:
    async def ask(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        assert screen._session is not None
        target = screen._session.target
        assert target is not None
        spec = msgspec.structs.replace(target.spec, backend="ollama")
        screen.run_worker(screen._mending.started(msgspec.structs.replace(target, spec=spec), "ollama serve"))
        await asked(pilot)

    picture(snap_compare, size, ask)


@BOTH
def test_backends_that_were_passed_over(snap_compare, size: tuple[int, int]) -> None:
    async def tell(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        screen._shown.notice(notices.backends_entry("14B Q3_K_S + offload", "llama.cpp", REFUSALS))

    picture(snap_compare, size, tell)


@BOTH
def test_a_model_that_its_server_holds_on_the_card_in_part(snap_compare, size: tuple[int, int]) -> None:
    async def load(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        assert screen._session is not None
        loaded = Loaded(8192, model_bytes=9_000_000_000, vram_bytes=6_600_000_000, device="Ollama 0.33.0")
        screen._session._link.status = Status("idle", loaded)
        screen._show_lines()

    picture(snap_compare, size, load)
