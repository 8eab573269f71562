"""The header of a model at Hugging Face, read by a child: what is remembered, and what is told."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.hub.address import HubFile
from backends.hub.header import kept_header
from presets import remote
from presets.sources import HuggingFace
from tests.backends.fake_hub import FakeHub, go_online
from tests.conftest import processes_of
from tests.gguf_files import QWEN_1_5B, sparse_model

SOURCE = HuggingFace("me", "some", "one.gguf")
FILE = HubFile("me", "some", "one.gguf")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        go_online(monkeypatch, hub.root)
        hub.add(sparse_model(tmp_path / "one.gguf", QWEN_1_5B, "Q4_K_M", small_vocabulary=True))
        yield hub


async def test_the_header_is_remembered_and_the_file_stays_where_it_is(hub: FakeHub) -> None:
    assert kept_header(FILE) is None
    assert await remote.ask(SOURCE) is None
    header = kept_header(FILE)
    assert header is not None
    assert header.shape.layers == 28
    assert hub.sent < header.shape.file_bytes / 10


async def test_what_is_in_the_way_is_told_with_its_kind_and_what_to_do(hub: FakeHub) -> None:
    told = await remote.ask(HuggingFace("me", "some", "two.gguf"))
    assert told is not None
    assert (told.kind, told.title) == ("model_not_found", "me/some has no file two.gguf")
    assert "me/some" in told.hint


async def test_without_a_network_that_is_told() -> None:
    told = await remote.ask(SOURCE)
    assert told is not None
    assert (told.title, told.hint) == ("Hugging Face is switched off", "Unset HF_HUB_OFFLINE.")


async def test_who_stops_waiting_ends_the_child(hub: FakeHub, home: Path) -> None:
    hub.bytes_per_s = 1000
    asking = asyncio.create_task(remote.ask(SOURCE))
    deadline = time.monotonic() + 10
    while not hub.asked:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert processes_of(home) == {}


async def test_a_child_that_dies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    told = await remote.ask(SOURCE)
    assert told is not None
    assert told.title == "The header could not be read"
