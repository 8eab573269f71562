"""After an error of the card nothing more can be asked of its process: the next question gets a fresh one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.events import Text
from backends.host.wire import Failed
from tests.backends.exllamav2_world import stand_in, write_folder


@pytest.fixture(autouse=True)
def _stand_in() -> Iterator[None]:
    with stand_in():
        yield


async def test_the_answer_is_kept_and_the_next_question_is_answered_by_a_fresh_host(
    hosts: Any, said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    spec = hosts.spec(str(write_folder(tmp_path / "model")), backend="exllamav2", context=1024)
    monkeypatch.setenv("FAKE_EXLLAMAV2", '{"fail_after": 5}')
    client = await hosts.loaded(spec)
    records = await hosts.ask(client, "a1")
    end = records[-1].event
    assert isinstance(end, Failed)
    assert end.error.kind == "engine_died"
    assert "illegal memory access" in end.error.detail
    assert said(records), "what was said before is kept"
    assert any(isinstance(record.event, Text) for record in records)
    assert client.status.phase in {"decode", "failed"}
    await eventually(lambda: not client.connected)

    monkeypatch.setenv("FAKE_EXLLAMAV2", "{}")
    fresh = await hosts.loaded(spec)
    assert fresh.welcome.pid != client.welcome.pid
    assert said(await hosts.ask(fresh, "a2")).startswith("You said: hello")


async def test_a_question_in_line_behind_it_is_told_the_same(
    hosts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = hosts.spec(str(write_folder(tmp_path / "model")), backend="exllamav2", context=1024)
    monkeypatch.setenv("FAKE_EXLLAMAV2", '{"fail_after": 5, "token_s": 0.1}')
    client = await hosts.loaded(spec)
    first, _ = hosts.begin(client, "a1")
    second, behind = hosts.begin(client, "a2")
    await first
    await second
    assert isinstance(behind[-1].event, Failed)
    assert behind[-1].event.error.kind == "engine_died"
