"""The question before a fetch: what is known of it, what is missing, and which key does what."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from backends.errors import ErrorInfo
from backends.hub.wanted import STAYS_FREE_BYTES
from backends.ollama.wanted import OllamaPull
from presets.building import seconds_to_make
from presets.catalog import find, load_catalog
from presets.found import Found
from presets.plan import plan_preset
from presets.reference import machine_named
from presets.schema import PresetEntry
from tests.gguf_files import QWEN_1_5B, QWEN_14B
from tests.models_here import in_hub_cache, in_ollama
from tests.tui.fetches import GATED, GB, MB, NO_NETWORK, progress, source_of, view
from tui.screens.fetch.content import content, keys, title
from tui.screens.fetch.offer import (
    Offer,
    answered,
    free_at_server,
    offer,
    offer_by_server,
    others,
    with_others,
    with_plan,
    with_room,
    with_seconds,
)
from tui.units import memory

PRESET = "14b-q3_k_s-offload"


@pytest.fixture
def entry() -> PresetEntry:
    return find(load_catalog(), PRESET)


def offered(entry: PresetEntry) -> Offer:
    plan = plan_preset(entry, machine_named("rtx3070-8gb-32gb"), here=False)
    return with_plan(offer(entry, source_of(PRESET)), plan)


def text(found: Offer, width: int = 70) -> str:
    return content(found, width).plain


def test_what_can_be_made_here_stands_beside_the_fetch(home: Path) -> None:
    entry = find(load_catalog(), "32b-mixed-ssd")
    plan = plan_preset(entry, machine_named("rtx3070-8gb-32gb"), here=False)
    found = with_plan(offer(entry, source_of("32b-mixed-ssd")), plan)
    assert "mixed-4-3" not in text(found)
    told = with_others(found, others(entry, load_catalog().entries))
    flat = " ".join(text(told).split())
    assert "size 14.4 GB, by llama.cpp's rules" in flat
    assert (
        "or make the mix mixed-4-3 here, 65.5 GB to fetch, 15.7 GB in the end, 82.3 GB free needed: "
        "deepseek-tui quantize 32b-mixed-ssd"
    ) in flat
    timed = with_seconds(told, 900.0)
    assert "82.3 GB free needed, about 15 min: deepseek-tui quantize" in " ".join(text(timed).split())


def test_how_long_it_takes_is_measured_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))  # beside other work it is not kept
    entry = find(load_catalog(), "32b-mixed-ssd")
    first = seconds_to_make(entry)
    assert first is not None
    assert 1 < first < 100_000
    monkeypatch.setattr("backends.llama_cpp.quantizing.unseen.measured", None)
    assert seconds_to_make(entry) == round(first)
    assert seconds_to_make(find(load_catalog(), PRESET)) is None


def test_what_is_known_at_once_and_what_is_still_asked(entry: PresetEntry) -> None:
    first = text(offer(entry, source_of(PRESET)))
    assert "size      – (its server is asked)" in first
    assert "Asking huggingface.co about it …" in first
    planned = text(offered(entry))
    assert "size      6.7 GB, by llama.cpp's rules for it" in planned
    assert "expected  48/48 layers · 7.3 GB, ~45 tok/s" in planned
    assert "DeepSeek-R1-Distill-Qwen-14B Q3_K_S · MIT" in planned
    done = answered(offered(entry), None)
    assert "Asking" not in text(done)
    assert keys(done) == "Enter fetches it · Esc leaves it"


def test_a_published_speed_is_no_promise_for_this_machine(entry: PresetEntry) -> None:
    slow = msgspec.structs.replace(machine_named("cpu-only"), bandwidth=None)
    found = with_plan(offer(entry, source_of(PRESET)), plan_preset(entry, slow, here=False))
    assert "on the CPU · 7.7 GB, how fast is unknown (F8, then m," in text(found)
    assert "9–12" not in text(found)


def test_the_room_counts_what_an_earlier_try_has_left_and_what_stays_free(entry: PresetEntry) -> None:
    found = with_room(offered(entry), 7 * GB)
    assert found.size_bytes is not None
    assert found.missing_bytes == found.size_bytes + STAYS_FREE_BYTES - 7 * GB
    assert f"{memory(found.missing_bytes)} are missing: 1.1 GB stay free" in text(found)
    again = with_room(offer(entry, source_of(PRESET), view(progress(state="failed", error=NO_NETWORK))), 7 * GB)
    assert (again.size_bytes, again.to_come, again.missing_bytes) == (6_700 * MB, 3_600 * MB, 0)
    assert "3.1 GB of it are here from an earlier try" in text(again)
    assert "The last try ended: huggingface.co cannot be found." in text(again)
    assert keys(again).startswith("Enter goes on with it")
    assert with_room(offered(entry), None).missing_bytes == 0


def test_the_same_trouble_is_told_once(entry: PresetEntry) -> None:
    failed = offer(entry, source_of(PRESET), view(progress(state="failed", error=GATED)))
    told = text(answered(failed, GATED))
    assert told.count("asks for consent") == 1
    assert "The last try" not in told


def test_a_mirror_that_cannot_be_one_is_told_before_anybody_is_asked(
    entry: PresetEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    found = offer(entry, source_of(PRESET))
    assert not found.asking
    assert "HF_ENDPOINT is no server's address" in text(found)


def test_what_could_be_removed_is_ours_and_no_presets(entry: PresetEntry, home: Path) -> None:
    in_hub_cache("someone/spare", "spare.gguf", QWEN_1_5B)
    in_hub_cache("bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF", "DeepSeek-R1-Distill-Qwen-1.5B-Q4_K_M.gguf", QWEN_1_5B)
    in_ollama("other:1.5b", QWEN_1_5B, "Q6_K")
    found = others(entry, load_catalog().entries)
    assert [name for name, _ in found.removable] == ["someone/spare/spare.gguf"]
    assert found.same is None
    short = with_room(with_others(offered(entry), found), GB)
    assert "deepseek-tui models remove" in text(short)
    assert "someone/spare/spare.gguf" in text(short, 120)
    assert keys(short) == "f fetches it all the same · Esc leaves it"


def test_the_same_model_elsewhere_is_found_and_goes_first(entry: PresetEntry, home: Path) -> None:
    blob = in_ollama("deepseek-r1:14b", QWEN_14B, "Q3_K_S")
    found = others(entry, load_catalog().entries)
    assert found.same is not None
    assert found.same.path == blob
    both = with_room(with_others(offered(entry), found), GB)
    assert title(both) == "14B Q3_K_S + offload: the same model is on this machine already"
    assert keys(both) == "Enter uses it · f fetches it all the same · Esc leaves it"


@given(
    st.integers(1, 120),
    st.one_of(st.none(), st.integers(0, 10**12)),
    st.one_of(st.none(), st.integers(0, 10**12)),
    st.text(max_size=80),
)
def test_whatever_is_known_every_line_fits_and_nothing_steers_the_terminal(
    width: int, size: int | None, free: int | None, hostile: str
) -> None:
    error = ErrorInfo("x", hostile, hostile, hostile)
    same = Found("Ollama", hostile, Path("/x"), 1) if size else None
    found = Offer(
        hostile, hostile, hostile, hostile, hostile, hostile, hostile, hostile, size, "rules", 0, error, free,
        hostile, True, hostile, 42e6, same, ((hostile, 1),), True, error,
    )  # fmt: skip
    shown = content(found, width).plain
    assert all(cell_len(line) <= max(width, 18) for line in shown.split("\n"))
    assert not any(character in shown for character in "\x1b\x07\x9b\u202e\x00")


def at_ollama(**changes: object) -> Offer:
    preset = msgspec.structs.replace(
        find(load_catalog(), PRESET).preset, title="Served", backends={"ollama": {"source": "ollama:r1:7b"}}
    )
    entry = msgspec.structs.replace(find(load_catalog(), PRESET), preset=preset)
    return msgspec.structs.replace(offer_by_server(entry, OllamaPull("http://here:11434", "r1:7b")), **changes)


def test_what_a_server_fetches_has_no_size_before_and_that_is_said() -> None:
    found = at_ollama()
    told = text(found)
    assert title(found) == "Ollama does not have Served yet: fetch it?"
    assert "size      – (not known before: Ollama tells it when the fetch begins)" in told
    assert "from      Ollama's library: r1:7b" in told
    assert "by        Ollama at here:11434, which keeps it with its other models" in told
    assert "free      –" in told
    assert "file" not in told
    assert keys(found) == "Enter fetches it · Esc leaves it"


def test_a_server_s_disk_is_said_to_be_too_full_once_the_size_is_known() -> None:
    assert at_ollama(free_bytes=5 * GB).missing_bytes == 0
    found = at_ollama(size_bytes=7 * GB, here_bytes=GB, free_bytes=5 * GB)
    assert found.missing_bytes == GB
    assert "1.0 GB are missing" in text(found)
    assert "`ollama rm`" in text(found)


def test_what_is_free_is_asked_only_of_a_server_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.ollama_store.stores", lambda: (tmp_path, tmp_path / "none"))
    assert free_at_server(OllamaPull("http://127.0.0.1:11434", "r1:7b"))
    assert free_at_server(OllamaPull("http://ollama.example:11434", "r1:7b")) is None
    monkeypatch.setattr("backends.ollama_store.stores", lambda: ())
    assert free_at_server(OllamaPull("http://127.0.0.1:11434", "r1:7b")) is None
