"""What every picture needs: one moment, chats made of events, and a way to the state that is to be seen."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from backends.events import Done, Reasoning, Text, Timings, Usage
from backends.hardware.machine import Machine
from backends.hardware.sampler import GpuSampler
from backends.host.wire import Record
from backends.jobs import launch
from backends.jobs.job import JobSpec, JobView, Progress, key_of
from presets import remote
from presets.found import Search
from presets.reference import machine_named
from tui.app import DeepseekApp
from tui.chat import machine
from tui.chat.answer import Answer, fold
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id
from tui.commands import usage_table
from tui.plans import looking
from tui.screens.chat import ChatScreen
from tui.screens.chat import screen as chat
from tui.screens.chat.start import Wish
from tui.screens.fetch import offer
from tui.screens.figures import told

NOW = 1_772_485_500.0  # 2026-03-02 21:05 UTC
BOTH = pytest.mark.parametrize("size", [(120, 34), (80, 24)], ids=["120x34", "80x24"])
ANSWER = """Every generated token reads **all the weights** once. At `8.99 GB` and 448 GB/s that is the limit:

```python
def tokens_per_second(bandwidth, bytes_per_token):
    return bandwidth / bytes_per_token
```

1. The weights: 8.99 GB
2. The KV cache: 816 MiB at 8k

| preset | layers | tok/s |
|---|---|---|
| 14B Q3_K_S | 48/48 | 24 |
| 32B mixed | 31/64 | 3 |

> A smaller quantisation wholly on the card beats a larger one split.
"""
THOUGHT = (
    "So the user asks why decode is bound by memory. Each token needs every weight once, and there is no reuse. " * 4
)


@pytest.fixture(autouse=True)
def _one_moment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same time, card and presets in every picture."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(Answer, "_now", lambda answer: answer.last_s)
    monkeypatch.setattr(GpuSampler, "latest", lambda _sampler: None)
    monkeypatch.setattr(told, "shown_path", lambda _path: "~/.config/deepseek-tui/config.toml")
    monkeypatch.setattr(usage_table, "shown_path", lambda _path: "~/.config/deepseek-tui/config.toml")
    monkeypatch.setattr(machine, "process_rss", lambda _pid: None)
    monkeypatch.setattr(machine, "process_reads", lambda _pid: None)
    on_this_machine(monkeypatch, machine_named("rtx3070-8gb-32gb"))
    folder = home / "config" / "presets"
    folder.mkdir(parents=True)
    for slot, name, options in ((5, "demo", ""), (6, "slow", "load_s = 100000\n")):
        (folder / f"{name}.toml").write_text(
            f'title = "{name.title()}"\nslot = {slot}\nbackend = "echo"\nkeep_alive_s = 0.1\n[model]\nfamily = "echo"\n'
            f'quantization = "none"\n[backends.echo]\nsource = "server:{name}"\n{options}'
        )


def on_this_machine(patch: pytest.MonkeyPatch, here: Machine, *, usable: bool = True) -> None:
    """Let plans be made for a machine that is described, and no engine be asked."""
    patch.setattr(looking, "this_machine", lambda *_args, **_keywords: here)
    patch.setattr(looking, "card_usable", lambda: usable)
    patch.setattr(looking, "host_pids", set)


def said(*answers: tuple[str, list[object]]) -> None:
    """Put one chat into the store: questions with the events that answer them."""
    store, conversation = Store(), None
    for question, events in answers:
        answer = new_id()
        row = store.begin(answer, Asked("14b-q3_k_s-offload", "llama_cpp", "x"), question, conversation)
        conversation = row.conversation
        store.finish(answer, fold(Record(answer, n, float(n), event) for n, event in enumerate(events)))
    store.close()


USAGE = Usage(812, 0, 812, 1200)
WHOLE = [Reasoning(THOUGHT, 812), Text(ANSWER, 388), Done("stop", USAGE, Timings(0.5, 1.2, 50.0, 23.6))]

Steps = Callable[[Pilot[None]], Awaitable[None]]


def picture(snap_compare, size: tuple[int, int], *steps: Steps | str, preset: str = "demo", theme: str = "") -> None:
    """Compare the screen after `steps`: keys to press, or functions of the pilot."""

    async def before(pilot: Pilot[None]) -> None:
        await settled(pilot)
        for step in steps:
            if isinstance(step, str):
                await pilot.press(step)
            else:
                await step(pilot)
        await pilot.pause()

    with pytest.MonkeyPatch.context() as patch:
        # What changes by itself every few seconds would be in some pictures and not in others.
        patch.setattr(chat, "REFRESH_S", 3600.0)
        assert snap_compare(DeepseekApp(Wish(preset=preset), theme), terminal_size=size, run_before=before)


async def settled(pilot: Pilot[None]) -> None:
    """Wait until everything is open and the model of `demo` is loaded, or that of `slow` is loading."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        await pilot.pause(0.05)
        screen = pilot.app.screen_stack[-1]
        session = getattr(screen, "_session", None)
        status = session.status if session is not None else None
        loaded = status is not None and (status.phase != "loading" or status.load is not None)
        planned = session is not None and screen._planning._planned is not None
        if session is not None and session.step is None and (loaded or session.busy) and planned:
            await pilot.pause(0.1)
            return
    raise AssertionError("the screen did not come to rest")


def chat_screen(pilot: Pilot[None]) -> ChatScreen:
    screen = pilot.app.screen
    assert isinstance(screen, ChatScreen)
    return screen


@pytest.fixture
def a_clock_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time for what waits, and less of it."""
    monkeypatch.setattr(time, "time", time.monotonic)
    monkeypatch.setattr("tui.screens.chat.fetching.POLL_S", 0.1)
    monkeypatch.setattr("tui.screens.chat.screen.REFRESH_S", 0.2)


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
