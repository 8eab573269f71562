"""Pictures of the plan view and of what is said before a model loads. See README, "Pictures"."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from backends.hardware.disk import Disk
from backends.hardware.machine import Machine
from backends.hardware.memory import Ram
from presets.reference import machine_named
from tests.gguf_files import LLAMA_8B, QWEN_14B, sparse_model
from tests.tui.screens.conftest import BOTH, chat_screen, on_this_machine, picture
from tui.plans import looking
from tui.plans.looking import Holder

MACHINE = machine_named("rtx3070-8gb-32gb")
GB = 10**9


def crowded(machine: Machine, free_bytes: int) -> Machine:
    card = msgspec.structs.replace(machine.gpus[0], free_bytes=free_bytes)
    return msgspec.structs.replace(machine, gpus=(card,))


def short_of_memory(machine: Machine, available_bytes: int) -> Machine:
    return msgspec.structs.replace(machine, ram=Ram(16 * GB, available_bytes))


@pytest.fixture(autouse=True)
def _mine(home: Path) -> None:
    """Two models of the user's, on their keys: the pictures' own presets keep theirs."""
    for slot, name, model in ((1, "8b", LLAMA_8B), (2, "14b", QWEN_14B)):
        file = sparse_model(home / f"{name}.gguf", model, "Q4_K_M", small_vocabulary=True)
        (home / "config" / "presets" / f"mine-{name}.toml").write_text(
            f'title = "{name.upper()} of mine"\nslot = {slot}\nbackend = "llama_cpp"\n'
            f'[model]\nfamily = "DeepSeek-R1"\nquantization = "Q4_K_M"\n'
            f'[backends.llama_cpp]\nsource = "file:{file}"\n'
        )


STATES: dict[str, tuple[Machine, tuple[str, ...]]] = {
    "whole on the card": (MACHINE, ("f2",)),
    "split beside others": (crowded(MACHINE, 5 * GB), ("f3",)),
    "streamed by the CPU": (short_of_memory(machine_named("cpu-only"), 6 * GB), ("f3",)),
    "not downloaded": (MACHINE, ("f4",)),
    "not planned": (MACHINE, ()),
    "never measured": (msgspec.structs.replace(MACHINE, bandwidth=None, disk=Disk("nvme")), ("f3",)),
}


@BOTH
@pytest.mark.parametrize(("machine", "keys"), STATES.values(), ids=STATES)
def test_a_plan(snap_compare, size, machine: Machine, keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch, machine)
    picture(snap_compare, size, "f8", *keys)


def test_the_rest_of_a_plan_with_another_context(snap_compare, monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch, crowded(MACHINE, 5 * GB))

    async def tried(pilot: Pilot[None]) -> None:
        while pilot.app.screen._tried is None:
            await pilot.pause(0.02)

    picture(snap_compare, (80, 24), "f8", "f3", "plus", tried, "pagedown")


def test_what_is_said_before_a_model_loads_beside_others(snap_compare, monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_machine(monkeypatch, crowded(MACHINE, 6 * GB))
    others = (Holder(1234, "python3", 1_200_000_000), Holder(987, "Xorg", 300_000_000))
    monkeypatch.setattr(looking, "holders", lambda *_: others)

    async def choose(pilot: Pilot[None]) -> None:
        screen = chat_screen(pilot)
        session = screen._session
        assert session is not None
        target = screen._presets.target("mine-14b")
        assert target is not None
        session.target = target
        await screen._planning._warn(session, target)

    picture(snap_compare, (120, 34), choose)
