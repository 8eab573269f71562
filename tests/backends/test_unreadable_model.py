"""A model's file that cannot be read any more while it answers: what was said is kept, the file and the byte are named.

The engine, the host and the file are real. A disk that fails is a loop device whose backing file is cut: the kernel
then answers with a true I/O error.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.base import ChatRequest, Message, Sampling
from backends.errors import Unreadable
from backends.events import Reasoning, Text
from backends.host import spool
from backends.host.wire import Record
from tests.groups import NoGroup, group, slow_disk
from tests.streaming_models import write_model

MB = 1_000_000


def words(records: list[Record]) -> str:
    return "".join(record.event.text for record in records if isinstance(record.event, Reasoning | Text))


async def test_a_file_that_is_cut_short_under_the_engine(
    hosts: Any, eventually: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Weights of noise end an answer by chance; the likeliest token never does.
    endless = ChatRequest((Message("user", "hi"),), Sampling(temperature=0.0))
    monkeypatch.setattr(hosts, "request", lambda *_: endless)
    model = write_model(tmp_path / "model.gguf", 1)
    left = model.stat().st_size // 2
    spec = hosts.spec(str(model), backend="llama_cpp", context=512)
    client = await hosts.loaded(spec)
    running, records = hosts.begin(client)
    await eventually(lambda: len(words(records)) >= 5, 60)
    os.truncate(model, left)
    with pytest.raises(Unreadable) as caught:
        await asyncio.wait_for(running, 60)
    error = caught.value
    assert error.title == "The model's file was cut short"
    place = re.search(rf"{re.escape(str(model))} at byte ([\d,]+), and the file has only {left:,} bytes", error.detail)
    assert place is not None
    assert left <= int(place[1].replace(",", "")) < 2 * left + MB
    kept = words(spool.read("a1"))
    assert kept
    assert words(records).startswith(kept)
    model.unlink()
    write_model(model, 1)
    again = await hosts.loaded(spec)
    assert again.welcome.pid != client.welcome.pid
    running, records = hosts.begin(again, "a2")
    await eventually(lambda: words(records), 60)
    await again.stop("a2")
    await running


ASK = """
import asyncio, json, sys
from backends.base import ChatRequest, Message, Sampling
from backends.errors import Problem
from backends.events import Reasoning, Text
from backends.host import launch, spool
from backends.host.wire import HostSpec

async def main():
    spec = HostSpec("llama_cpp", sys.argv[1], {"context": 512}, "32B", "this build", 0.0)
    client = await launch.obtain(spec)
    await client.loaded()
    try:
        request = ChatRequest((Message("user", "hi"),), Sampling(temperature=0.0))
        async for record in client.chat("a1", request, spool.create("a1")):
            if isinstance(record.event, Reasoning | Text):
                print(json.dumps({"text": record.event.text}), flush=True)
    except Problem as problem:
        print(json.dumps({"kind": problem.kind, "title": problem.title, "detail": problem.detail}), flush=True)

asyncio.run(main())
"""


@pytest.mark.alone
def test_a_disk_that_fails(home: Path, tmp_path: Path) -> None:
    try:
        with slow_disk(tmp_path, 800 * MB) as disk, group(420 * MB) as small:
            model = write_model(disk / "model.gguf", 4)
            with model.open("rb") as written:  # Whoever touches a page first pays for it.
                os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
            command = [sys.executable, "-P", "-c", ASK, str(model)]
            with small.popen(command, env=environment, stdout=subprocess.PIPE, text=True) as asking:
                lines = (json.loads(line) for line in asking.stdout)
                said = [next(lines) for _ in range(3)]
                os.truncate(tmp_path / "disk.img", 400 * MB)
                *more, last = lines
            assert all("text" in one for one in (*said, *more))
            assert (last["kind"], last["title"]) == ("unreadable", "The disk could not be read")
            place = re.search(rf"reading {re.escape(str(model))} at byte ([\d,]+) failed", last["detail"])
            assert place is not None
            assert int(place[1].replace(",", "")) < model.stat().st_size
            assert words(spool.read("a1"))
    except NoGroup as why:
        pytest.skip(str(why))
