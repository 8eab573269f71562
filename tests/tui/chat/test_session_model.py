"""Which model answers, and what the screen is told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from backends.base import Sampling
from backends.host import launch, spool
from tui.chat.session import Session
from tui.screens.chat.progress import doing


def talking(session: Session) -> bool:
    return session.answer is not None and len(session.answer.text) > 20


def loaded(session: Session) -> bool:
    return session.status is not None and session.status.phase == "idle"


async def test_two_presets_of_one_model_share_it_and_stop_what_is_theirs(screens: Any, target: Any) -> None:
    first = target(text="word " * 400, tokens_per_second=60.0)
    second = msgspec.structs.replace(first, preset="hotter", sampling=Sampling(temperature=1.5))
    screen = screens()
    screen.session.choose(first)
    await screen.until(loaded)
    pid = screen.session.host_pid
    screen.session.choose(second)
    await screen.until(lambda session: session.loaded_target == second)
    assert screen.session.host_pid == pid
    await screen.session.send("why?")
    await screen.until(talking)
    answer = screen.session.answering.id
    await screen.session.stop()
    await screen.until(lambda session: not session.busy)
    assert screen.session.branch[-1].state == "stopped"
    assert len(screen.session.branch[-1].text) > 20
    # The engine stopped too, and did not go on for nobody.
    (view,) = await launch.survey()
    assert view.status is not None
    assert (view.status.answer, answer in spool.answers()) == (None, False)


async def test_how_far_loading_is_does_not_count_as_another_model(screens: Any, target: Any) -> None:
    screen = screens()
    screen.session.choose(target(load_s=1.0))
    await screen.until(loaded)
    await asyncio.sleep(0.1)
    assert screen.changes.count("progress") > 8
    assert screen.changes.count("model") < 8


async def test_a_model_that_is_there_already_is_not_missing_while_it_is_looked_for(screens: Any, target: Any) -> None:
    wanted = target(keep_alive_s=5.0)
    first = screens()
    first.session.choose(wanted)
    await first.until(loaded)
    second = screens()
    said: list[str] = []

    async def watched() -> None:
        while not loaded(second.session):
            said.append(doing(second.session))
            await asyncio.sleep(0)

    second.session.choose(wanted, evict="none")
    await asyncio.wait_for(watched(), 10)
    assert said
    assert not any("not in memory" in text for text in said)


async def test_a_model_that_stays_out_for_another_one_is_not_in_memory(screens: Any, target: Any) -> None:
    first = screens()
    first.session.choose(target(text="one", keep_alive_s=5.0))
    await first.until(loaded)
    second = screens()
    second.session.choose(target(text="two"), evict="none")
    await second.until(lambda session: "not in memory" in doing(session))
    assert not second.session.warming
