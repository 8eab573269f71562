"""Machines as TOML: the reference machines, files of the user's own, and every mistake in them with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from hypothesis import given
from hypothesis import strategies as st

from backends.hardware.block import DiskKind
from backends.hardware.cpu import Cpu
from backends.hardware.disk import Disk
from backends.hardware.machine import Card, Machine
from backends.hardware.memory import Ram
from backends.hardware.speed import Speed
from presets.machine_files import MachineError, from_toml, to_toml
from presets.reference import FOLDER, MAX_BYTES, machine_named, machine_names

GIB, GB = 1 << 30, 10**9
NAMES = (
    "cpu-only", "rtx3060-8gb-16gb", "rtx3070-8gb-32gb", "rtx3070-8gb-64gb", "rtx4060-8gb-8gb-nvme",
    "rtx4060-8gb-laptop", "rx7600-8gb",
)  # fmt: skip


def test_the_reference_machines_are_these() -> None:
    assert machine_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_machine_is_whole(name: str) -> None:
    found = machine_named(name)
    assert (found.origin, found.power) == ("described", "mains")
    assert found.title
    assert found.ram.total_bytes is not None
    assert found.ram.available_bytes is not None
    assert 0.8 < found.ram.available_bytes / found.ram.total_bytes < 1
    assert found.bandwidth is not None
    assert found.disk.read is not None
    assert found.cpu.cores is not None
    for card in found.gpus:
        assert card.total_bytes == 8 * GIB
        assert card.free_bytes is not None
        assert card.free_bytes < card.total_bytes
        assert card.bandwidth is not None
    assert len(found.gpus) == (0 if name == "cpu-only" else 1)
    # Every figure has its source beside it.
    assert (FOLDER / f"{name}.toml").read_text(encoding="utf-8").count("# ") >= 6
    assert from_toml(to_toml(found)) == found


@pytest.mark.parametrize(
    ("name", "card", "memory", "disk"),
    [
        ("rtx3060-8gb-16gb", 240, 51.2, 0.55),
        ("rtx3070-8gb-32gb", 448, 51.2, 0.55),
        ("rtx3070-8gb-64gb", 448, 51.2, 7.0),
        ("rtx4060-8gb-8gb-nvme", 272, 51.2, 3.5),
        ("rtx4060-8gb-laptop", 256, 89.6, 7.0),
        ("rx7600-8gb", 288, 89.6, 7.0),
    ],
)
def test_speeds_are_those_of_the_data_sheets(name: str, card: float, memory: float, disk: float) -> None:
    found = machine_named(name)
    assert found.gpus[0].bandwidth == Speed(round(card * GB), "published")
    assert found.bandwidth == Speed(round(memory * GB), "published")
    assert found.disk.read == Speed(round(disk * GB), "published")


def test_the_wheel_takes_the_machines_along() -> None:
    builder = WheelBuilder(str(FOLDER.parent.parent))
    packed = {included.distribution_path for included in builder.recurse_included_files()}
    assert {f"presets/machines/{name}.toml" for name in NAMES} <= packed


texts = st.text(max_size=40).map(lambda text: "".join(filter(str.isprintable, text)))
sizes = st.none() | st.integers(1, 1 << 50)
amounts = st.none() | st.integers(0, 1 << 50)
counts = st.none() | st.integers(1, 1 << 16)
speeds = st.none() | st.builds(Speed, st.integers(1, 10**14), st.sampled_from(["measured", "published", "assumed"]))
kinds: list[DiskKind] = ["nvme", "sata-ssd", "other-ssd", "rotating", "network", "memory", "unknown"]


@st.composite
def cards(draw: st.DrawFn) -> Card:
    total = draw(st.integers(1, 1 << 50))
    free = draw(st.none() | st.integers(0, total))
    return Card(draw(texts), total, free, draw(amounts), draw(texts), draw(speeds))


machines = st.builds(
    Machine,
    st.lists(cards(), max_size=3).map(tuple),
    st.builds(Ram, sizes, amounts, sizes, amounts, amounts),
    speeds,
    st.builds(
        Cpu,
        texts,
        counts,
        counts,
        counts,
        counts,
        st.none() | st.floats(0.01, 1000),
        counts,
        counts,
        st.lists(texts, max_size=4).map(tuple),
    ),
    st.builds(
        Disk,
        st.sampled_from(kinds),
        texts,
        texts,
        texts,
        sizes,
        amounts,
        st.none() | st.floats(0.5, 128),
        st.none() | st.integers(1, 32),
        speeds,
        texts,
    ),
    st.booleans(),
    st.sampled_from(["mains", "battery", None]),
    st.lists(texts, max_size=3).map(tuple),
    texts,
    st.sampled_from(["measured", "described"]),
)


@given(machines)
def test_a_machine_comes_back_to_the_byte(machine: Machine) -> None:
    assert from_toml(to_toml(machine)) == machine


@given(st.text(max_size=200))
def test_any_text_is_a_machine_or_an_error_with_words(text: str) -> None:
    try:
        found = from_toml(text, "x.toml")
    except MachineError as error:
        found = error
    assert isinstance(found, Machine) or found.detail.startswith("x.toml")


def test_an_empty_file_is_a_machine_of_which_nothing_is_known() -> None:
    assert from_toml("") == Machine(origin="described")


TWO = '[[gpus]]\nname = "a"\nvram_gib = 8\n\n[[gpus]]\nname = "b"\n'


@pytest.mark.parametrize(
    ("text", "line", "key", "what", "hint"),
    [
        ("[ram]\n\ntotal_gb = 16\n", 3, "ram.total_gb", "unknown key", "ram.total_gib"),
        ("[[gpu]]\nname = 'x'\n", 1, "gpu", "unknown key", "gpus"),
        ("vram_gib = 8\n", 1, "vram_gib", "unknown key", "Known here: title"),
        ("[[gpus]]\nname = 'x'\n", 1, "gpus.vram_gib", "missing key", ""),
        ("[[gpus]]\nname = 'x'\nvram_gib = 8\nfree_gib = 9\n", 4, "gpus.free_gib", "more than vram_gib", ""),
        (TWO + "vram_gbi = 8\n", 7, "gpus.vram_gbi (card 2)", "unknown key", "gpus.vram_gib"),
        (TWO + "vram_gib = -8\n", 7, "gpus.vram_gib (card 2)", "expected a number > 0", ""),
        (TWO + "vram_gib = nan\n", 7, "gpus.vram_gib (card 2)", "expected a number", ""),
        ("gpus = [{name = 'x'}, {name = 'y'}]\n", 1, "gpus.vram_gib", "missing key", ""),
        ("[gpus]\nname = 'x'\n", 1, "gpus", "expected a list", ""),
        ("[disk]\nkind = 'nvmee'\n", 2, "disk.kind", "found nvmee", "Did you mean nvme?"),
        ("[disk]\nkind = 'floppy'\n", 2, "disk.kind", "found floppy", "Choose one of: nvme"),
        ("[ram]\ntotal_gib = '16'\n", 2, "ram.total_gib", "found text in quotes", ""),
        ("[ram]\ntotal_gib = inf\n", 2, "ram.total_gib", "expected", ""),
        ("[cpu]\ncores = 0\n", 2, "cpu.cores", "expected a whole number >= 1", ""),
        ("power = 'sun'\n", 1, "power", "found sun", "mains, battery"),
        ("a = [\n", 1, "", "not valid TOML", ""),
        ("\na = [}\n", 2, "", "not valid TOML", ""),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, line: int, key: str, what: str, hint: str) -> None:
    with pytest.raises(MachineError) as caught:
        from_toml(text, "mine.toml")
    assert (caught.value.line, caught.value.key) == (line, key)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.detail.startswith(f"mine.toml, line {line}")


@pytest.mark.parametrize(
    "text",
    ["a." * 20_000 + "a = 1\n", "a = " + "[" * 100 + "]" * 100, "a = " + "[" * 60_000],
    ids=["keys", "closed", "open"],
)
def test_what_is_nested_without_end_is_refused_at_once(text: str) -> None:
    with pytest.raises(MachineError) as caught:
        from_toml(text)
    assert "nested too deeply" in caught.value.what


def test_text_that_would_steer_a_terminal_is_cleaned() -> None:
    found = from_toml('title = "a\\u001b[31mb\\u202e"\n[[gpus]]\nname = "x\\u0007"\nvram_gib = 8\n')
    assert (found.title, found.gpus[0].name) == ("a[31mb", "x")


def test_a_file_of_the_users_own_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'\xef\xbb\xbftitle = "Mine"\r\n[ram]\r\ntotal_gib = 12\r\n')
    assert machine_named(str(path)).ram.total_bytes == 12 * GIB
    path.write_text("[ram]\ntotal = 1\n")
    with pytest.raises(MachineError) as caught:
        machine_named(str(path))
    assert "mine.toml, line 2: ram.total" in caught.value.detail


def test_a_name_that_is_none_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        machine_named("RTX3060-8gb")
    assert "rtx3060-8gb-16gb" in caught.value.hint
    with pytest.raises(MachineError) as caught:
        machine_named("zzz")
    assert all(name in caught.value.hint for name in NAMES)


@pytest.mark.parametrize("name", ["../cpu-only", "machines/none.toml", "a\0.toml", "", "\x1b[31m"])
def test_a_path_that_is_none_is_an_error_and_no_crash(name: str) -> None:
    with pytest.raises(MachineError) as caught:
        machine_named(name)
    assert "\x1b" not in str(caught.value)


def test_files_that_are_no_machine_are_refused(tmp_path: Path) -> None:
    large, odd = tmp_path / "large.toml", tmp_path / "odd.toml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    odd.write_bytes(b"title = 'a'\n# \xff\n")
    for path, words in ((tmp_path, "not a file"), (large, "larger than 64 KB"), (odd, "line 2: not UTF-8")):
        with pytest.raises(MachineError, match=words):
            machine_named(f"{path}/" if path is tmp_path else str(path))
