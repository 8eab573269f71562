"""A server that sends 1,000 small chunks a second: all of them arrive, and the machine has other things to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import streaming

CHUNKS, RATE = 3000, 1000.0


async def test_the_stream_goes_through_the_host_whole_on_less_than_a_core(home: Path) -> None:
    with streaming.server(CHUNKS, RATE) as url:
        client = await streaming.connected(url)
        try:
            run = await streaming.ask(client, "a" * 24)
        finally:
            await client.shutdown(force=True)
            await client.close()
    assert run.text == streaming.expected(CHUNKS)
    assert run.tokens == CHUNKS, "the server also counts the token that ends an answer"
    assert run.cores <= 1.0


@pytest.mark.parametrize(("width", "height"), [(120, 34), (80, 24)])
def test_the_screen_shows_and_keeps_it_whole_on_less_than_a_core(home: Path, width: int, height: int) -> None:
    with streaming.server(CHUNKS, RATE) as url:
        text, cores = streaming.on_screen(url, CHUNKS, width, height)
    assert text == streaming.expected(CHUNKS)
    assert cores <= 1.0, f"the screen and its host used {cores:.2f} cores"
