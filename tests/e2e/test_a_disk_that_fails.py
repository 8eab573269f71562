"""On the true screen: the model's file goes while it answers, or memory becomes too small for it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.groups import NoGroup, group
from tests.streaming_models import write_model

MB = 1_000_000
PRESET = """\
title = "Large"
slot = 6
backend = "llama_cpp"
[model]
family = "Llama"
quantization = "F16"
[sampling]
temperature = 0.0
[backends.llama_cpp]
source = "file:{model}"
context = 512
"""


@pytest.fixture
def large(home: Path, tmp_path: Path) -> Iterator[Path]:
    """A model of 134 MB that answers at some tokens a second, and its preset."""
    model = write_model(tmp_path / "model.gguf", 1)
    preset(home, model)
    yield model
    model.unlink()


@contextlib.contextmanager
def written(model: Path, layers: int) -> Iterator[None]:
    """Write a model, and let no page of it be charged to anybody before."""
    write_model(model, layers)
    with model.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        yield
    finally:
        model.unlink()


def preset(home: Path, model: Path) -> None:
    folder = home / "config" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "large.toml").write_text(PRESET.format(model=model))


def test_the_file_goes_the_screen_lives_and_the_next_question_has_a_fresh_engine(terminal, hosts, large: Path) -> None:
    screen = terminal("-p", "large", width=100)
    screen.ask("talk")
    screen.see(r"│ \d+\.\d t", 60)
    (first,) = hosts()
    os.truncate(large, large.stat().st_size // 2)
    text = screen.see("The model's file was cut short", 20)
    assert "at byte" in text.replace("\n", " ")
    screen.see("saved")
    write_model(large, 1)
    screen.press("^r")
    screen.see_gone("The model's file was cut short", 60)
    screen.see(r"│ \d+\.\d t", 60)
    (second,) = hosts()
    assert second != first
    screen.press("esc")
    screen.see("stopped|saved", 20)


def test_memory_that_becomes_too_small_is_said_once_with_what_helps_and_the_answer_goes_on(
    home: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.gguf"
    preset(home, model)
    command = [sys.executable, "-P", "-m", "tui", "ask", "-p", "large", "--json", "--show-thinking", "talk"]
    try:
        with (
            group(1500 * MB) as limited,
            written(model, 4),
            limited.popen(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as asking,
        ):
            events = (json.loads(line) for line in asking.stdout)
            before = []
            for event in events:
                before.append(event)
                if sum(one["event"] in {"text", "reasoning"} for one in before) >= 5:
                    break
            limited.limit(380 * MB)
            since = []
            for event in events:
                since.append(event)
                if event["event"] == "strain":
                    break
            strain = since[-1]
            assert strain["event"] == "strain", since
            after = [next(events) for _ in range(3)]
            asking.terminate()
            rest = list(events)
    except NoGroup as why:
        pytest.skip(str(why))
    assert all(event["event"] != "strain" for event in before)
    assert strain["kind"] == "reads"
    assert 100 * MB < strain["bytes_per_token"] < 700 * MB
    assert strain["text"].startswith("Main memory no longer holds the model: each token reads ")
    assert strain["text"].endswith("Its control group lets it have 380 MB of main memory in all.")
    assert {event["event"] for event in after} <= {"text", "reasoning"}
    assert rest[-1]["event"] == "done"
    assert rest[-1]["io"]["read_bytes"] > 5 * strain["bytes_per_token"] * 0.8
    assert rest[-1]["io"]["written_bytes"] <= rest[-1]["io"]["own_written_bytes"]
