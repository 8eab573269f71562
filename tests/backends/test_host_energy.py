"""A host tells of the energy of each answer: live, at the end, and also of one that was cut off."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from backends.events import Done, DoneReason, Energy, Metered, Text
from backends.host import spool, unclaimed
from backends.host.wire import Failed, Record
from tests import fake_driver
from tests.backends.fake_openai import FakeOpenAI

WATTS = 100.0


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A card that draws 100 W from the machine's start on, and does not tell whose processes are on it."""
    says = f"cards 1\ntext0 RTX 3070\nprocesses 3\nepoch 0\nprofile0 0 {WATTS} 1000000000 {WATTS}\n"
    card = fake_driver.environment(tmp_path / "driver", says)
    for name, value in card.items():
        monkeypatch.setenv(name, value)
    return Path(card["FAKE_NVML"])


def ending(records: list[Record]) -> Done:
    assert isinstance(records[-1].event, Done)
    return records[-1].event


def of_the_card(energy: Energy | None) -> Any:
    assert energy is not None
    (device,) = [device for device in energy.devices if device.device.startswith("GPU")]
    return device


async def test_an_answer_ends_with_the_joules_of_its_prefill_and_decode(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 40, tokens_per_second=40.0, prefill_tokens_per_second=32.0))
    await hosts.ask(client, "a1")
    done = ending(await hosts.ask(client, "a2", "one two three four five six"))
    used = of_the_card(done.energy)
    assert (used.measured, used.source) == (True, "NVML energy counter")
    assert done.timings.prefill_s is not None
    assert done.timings.decode_s is not None
    assert used.prefill_j == pytest.approx(WATTS * done.timings.prefill_s, rel=0.1, abs=2)
    assert used.decode_j == pytest.approx(WATTS * done.timings.decode_s, rel=0.1, abs=2)
    assert done.energy is not None
    assert done.energy.joules == pytest.approx(sum(device.joules for device in done.energy.devices), abs=1e-6)


async def test_only_the_first_answer_after_loading_has_the_joules_of_the_load(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(load_s=0.8))
    first, second = ending(await hosts.ask(client, "a1")), ending(await hosts.ask(client, "a2"))
    assert of_the_card(first.energy).load_j == pytest.approx(WATTS * (first.timings.load_s or 0), rel=0.15, abs=3)
    assert of_the_card(second.energy).load_j == 0


async def test_it_is_told_once_a_second_and_only_grows(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 70, tokens_per_second=20.0))
    records = await hosts.ask(client)
    told = [record.event for record in records if isinstance(record.event, Metered)]
    assert 2 <= len(told) <= 5
    joules = [one.energy.joules for one in told]
    assert joules == sorted(joules)
    assert ending(records).energy is not None
    assert ending(records).energy.joules >= joules[-1]
    assert told[-1].watts == pytest.approx(WATTS, rel=0.2)


async def test_an_answer_that_was_stopped_has_what_it_used_and_its_times(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 400, tokens_per_second=50.0, deaf=True, drain_s=0.5))
    running, records = hosts.begin(client)
    while not any(isinstance(record.event, Metered) for record in records):
        await hosts_turn()
    await client.stop("a1")
    await running
    done = ending(records)
    stopped: DoneReason = "stopped"
    assert done.reason == stopped
    assert of_the_card(done.energy).decode_j > WATTS * 0.5
    assert done.timings.decode_s is not None
    assert done.timings.tokens_per_second == pytest.approx(50, rel=0.25)


async def test_an_answer_that_failed_tells_before_the_failure_what_it_used(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 40, tokens_per_second=40.0, fail="decode", after=20))
    records = await hosts.ask(client)
    assert isinstance(records[-1].event, Failed)
    assert isinstance(records[-2].event, Metered)
    assert of_the_card(records[-2].event.energy).decode_j > WATTS * 0.3


async def test_of_a_host_that_was_killed_the_spool_has_what_was_told(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 400, tokens_per_second=50.0))
    running, _ = hosts.begin(client)
    while sum(isinstance(record.event, Metered) for record in spool.read("a1")) < 2:
        await hosts_turn()
    os.kill(client.welcome.pid, signal.SIGKILL)
    with pytest.raises(Exception, match="its process ended"):
        await running
    kept = [record.event for record in spool.read("a1") if isinstance(record.event, Metered)]
    assert of_the_card(kept[-1].energy).decode_j > WATTS * 0.5


async def test_a_model_that_was_loaded_and_never_asked_leaves_what_it_used(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(load_s=0.5))
    pid = client.welcome.pid
    await client.shutdown()
    await ended(pid)
    (left,) = unclaimed.waiting()
    assert (left.backend, left.model) == ("echo", "model")
    assert left.load_s == pytest.approx(0.5, abs=0.4)
    assert of_the_card(left.energy).load_j == pytest.approx(WATTS * (left.load_s or 0), rel=0.2, abs=5)
    unclaimed.forget(left)
    assert unclaimed.waiting() == []


async def test_a_model_that_was_asked_leaves_nothing_worth_a_line(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec())
    await hosts.ask(client)
    pid = client.welcome.pid
    await client.shutdown()
    await ended(pid)
    assert unclaimed.waiting() == []


async def test_without_a_card_the_processors_share_is_an_estimate_at_the_least(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 10, tokens_per_second=100.0))
    energy = ending(await hosts.ask(client)).energy
    assert energy is not None
    assert energy.source in {"estimated", "measured"}
    assert [device.device.startswith("CPU") for device in energy.devices] == [True] * len(energy.devices)


async def test_a_server_elsewhere_takes_no_energy_of_this_machine(
    hosts: Any, card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends import origins

    assert origins.place_of("https://api.example.com") == "elsewhere"
    assert origins.place_of("http://127.0.0.1:8000") == "machine"
    with FakeOpenAI() as server:
        server.models["near"] = lambda question: f"You said: {question}"
        client = await hosts.loaded(hosts.spec("near", backend="openai", base_url=server.url, context=4096))
        assert client.status.loaded is not None
        assert client.status.loaded.place == "machine"
        assert of_the_card(ending(await hosts.ask(client)).energy).measured


async def hosts_turn() -> None:
    await asyncio.sleep(0.02)


async def ended(pid: int) -> None:
    import contextlib

    from backends.host import launch

    for _ in range(500):
        launch.reap()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            await asyncio.sleep(0.02)
            continue
        return
    raise AssertionError("the host did not end")


async def test_an_engine_that_goes_on_after_stop_is_on_nobodys_receipt_but_on_the_bill(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 60, tokens_per_second=30.0, deaf=True))
    running, records = hosts.begin(client)
    while not any(isinstance(record.event, Metered) for record in records):
        await hosts_turn()
    await client.stop("a1")
    await running
    used = of_the_card(ending(records).energy)
    following = ending(await hosts.ask(client, "a2"))
    later = of_the_card(following.energy)
    assert later.settle_j < WATTS * 0.3, "what the first answer's engine still did is not the second's"
    assert following.timings.decode_s is not None
    assert later.decode_j == pytest.approx(WATTS * following.timings.decode_s, rel=0.15, abs=5)
    (left,) = unclaimed.waiting()
    rest = of_the_card(left.energy)
    assert rest.decode_j > WATTS * 0.2
    assert used.decode_j + rest.decode_j == pytest.approx(WATTS * 2.0, rel=0.25)


async def test_a_stop_leaves_nothing_that_measures_an_idle_host(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 400, tokens_per_second=50.0))
    for number in range(3):
        running, records = hosts.begin(client, f"a{number}")
        while not any(isinstance(record.event, Text) for record in records):
            await hosts_turn()
        await client.stop(f"a{number}")
        await running
    await asyncio.sleep(1.5)
    after = of_the_card(ending(await hosts.ask(client, "last", "hi")).energy)
    assert after.settle_j < WATTS * 0.5


async def test_a_failure_tells_the_seconds_too(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(
        hosts.spec(text="word " * 40, tokens_per_second=40.0, fail="decode", after=20, load_s=0.4)
    )
    records = await hosts.ask(client)
    told = records[-2].event
    assert isinstance(told, Metered)
    assert told.timings is not None
    assert told.timings.load_s == pytest.approx(0.4, abs=0.5)
    assert told.timings.decode_s == pytest.approx(0.5, rel=0.4)


async def test_the_speed_of_a_stopped_answer_is_that_up_to_its_last_token(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 20, tokens_per_second=20.0, deaf=True))
    running, records = hosts.begin(client)
    while sum(isinstance(record.event, Text) for record in records) < 10:
        await hosts_turn()
    await client.stop("a1")
    await running
    assert ending(records).timings.tokens_per_second == pytest.approx(20.0, rel=0.35)


async def test_energy_without_a_card_whose_driver_fails_is_incomplete(hosts: Any, card: Path) -> None:
    fake_driver.tell({"FAKE_NVML": str(card)}, "init 18\n")
    client = await hosts.loaded(hosts.spec(text="word " * 5, tokens_per_second=50.0))
    energy = ending(await hosts.ask(client)).energy
    assert energy is not None
    assert energy.incomplete
    assert any("restart the machine" in note for note in energy.notes)


async def test_energy_of_all_devices_and_all_the_time_is_complete(hosts: Any, card: Path) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 5, tokens_per_second=50.0))
    await hosts.ask(client, "a1")
    energy = ending(await hosts.ask(client, "a2")).energy
    assert energy is not None
    assert not energy.incomplete
