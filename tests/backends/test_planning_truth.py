"""A plan that was made beforehand, and what decoding then reaches: with little memory, from a disk of known speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.groups import NoGroup, group
from tests.streaming_models import write_model

MIB = 1 << 20
LAYERS = 6  # 805 MB
MEMORY, READ = 430 * MIB, 300_000_000  # of much more than half of a model, the system's own cache would keep some
WITHIN = 0.15

# Runs in the group, before anything of the model was read there.
_RUN = """
import json, re, sys, time
from pathlib import Path
import msgspec
from backends.base import Cancel, ChatRequest, Message, Sampling
from backends.events import Done, Reasoning, Text
from backends.gguf.files import read_shape
from backends.hardware.disk import disk_under
from backends.hardware.machine import Machine
from backends.hardware.memory import ram
from backends.hardware.read_speed import measure_read
from backends.hardware.speed import Speed
from backends.llama_cpp import LlamaCppBackend
from backends.planning import reached
from backends.planning.fit import fit
from backends.planning.result import Wishes

STEADY = 4
path, hold, tokens = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
bare, shape = disk_under(path.parent), read_shape(path)
measured = measure_read(path)
disk = msgspec.structs.replace(bare, read=Speed(measured.bytes_per_s, "measured"))

def planned():
    known = Machine(ram=ram(), bandwidth=Speed(10**10, "measured"), disk=disk)
    wishes = Wishes(context=256, kv_cache="f16", depth=32, hold_bytes=None if hold == "auto" else 0,
                    disk_reached=reached.recall_disk(disk))
    return fit(shape, known, wishes)

options = LlamaCppBackend.Options(context=256, gpu_layers=0, saved_chats_gib=0,
                                  hold_gib=hold if hold == "auto" else 0)
backend, before = LlamaCppBackend(), planned()
began = time.monotonic()
backend.load(str(path), options, lambda _progress: None, Cancel())
loaded_s = time.monotonic() - began
request = ChatRequest((Message("user", "Go on."),), Sampling(seed=1, temperature=0.0, max_tokens=tokens))
seen = []
for event in backend.chat(request, Cancel()):
    if isinstance(event, Reasoning | Text) and event.tokens:
        seen.append((time.monotonic(), event.tokens + (seen[-1][1] if seen else 0)))
assert isinstance(event, Done)
first = next(one for one in seen if one[1] >= tokens - STEADY)
backend.unload()
after = planned()
best = re.search(r"at best .*, for ([0-9.]+) tokens/s", " ".join(before.warnings))
print(json.dumps({
    "at_best": None if best is None else float(best[1]),
    "disk": measured.bytes_per_s, "kept": before.kept_bytes, "streamed": before.bytes.ssd.total,
    "kept_after": after.kept_bytes, "predicted": before.tokens_per_second, "again": after.tokens_per_second,
    "reached": reached.recall_disk(disk), "loaded_s": loaded_s, "tokens": event.usage.output_tokens,
    "real": (seen[-1][1] - first[1]) / (seen[-1][0] - first[0]),
}))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("streams")
    try:
        with group(MEMORY, READ, folder):
            pass
    except NoGroup as reason:
        pytest.skip(str(reason))
    path = write_model(folder / "model.gguf", LAYERS)
    yield path
    path.unlink()


def run(model: Path, home: Path, hold: str, tokens: int) -> dict[str, Any]:
    with model.open("rb") as file:
        # What stays in memory belongs to whoever read it first, and would be no burden on the group.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_CACHE_HOME": str(home)}
    try:
        with group(MEMORY, READ, model) as limited:
            command = [sys.executable, "-c", _RUN, str(model), hold, str(tokens)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with limited.popen(command, env=environment, text=True, **pipes) as child:
                out, err = child.communicate(timeout=100)
    except NoGroup as reason:
        pytest.skip(str(reason))
    assert child.returncode == 0, err[-3000:]
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.alone
def test_how_fast_a_model_streams_is_known_beforehand(model: Path, tmp_path: Path) -> None:
    found = run(model, tmp_path, "auto", 5)
    assert found["tokens"] == 5
    assert found["kept"] > 100 * MIB
    assert found["streamed"] > LAYERS * 134_000_000 // 2
    assert found["real"] == pytest.approx(found["predicted"], rel=WITHIN), found
    # What the answer showed of the disk makes the next plan no worse, and what it left in memory makes it no other.
    assert found["reached"] is not None
    assert found["real"] == pytest.approx(found["again"], rel=WITHIN), found
    assert found["kept_after"] == pytest.approx(found["kept"], abs=30 * MIB)


@pytest.mark.alone
def test_where_nothing_is_held_the_plan_says_the_least_and_the_most_that_it_can_be(model: Path, tmp_path: Path) -> None:
    """How much of a circle the system's own cache keeps nobody knows: from nothing to all that there is room for."""
    found = run(model, tmp_path, "none", 5)
    least, most = found["predicted"], found["at_best"]
    assert found["kept"] == 0
    assert least * (1 - WITHIN) < found["real"] < most * (1 + WITHIN), found
    assert least < most
