"""What a person is told of a model's file that could not be read, and that a log's last line alone tells of it."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from backends.errors import EngineDied, Unreadable, from_info, to_info
from backends.host.client import HostClient
from backends.read_errors import ReadError, found, line, problem

DISK = ReadError("/models/32b.gguf", 740_556_800, 15_680_000_000)

names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=60)
errors = st.builds(
    ReadError, names.map("/models/{}".format), st.integers(0, 2**62), st.none() | st.integers(0, 2**62), st.booleans()
)


@given(error=errors, before=st.text(max_size=80))
def test_whatever_a_file_is_called_the_line_gives_it_back(error: ReadError, before: str) -> None:
    written = line(error).decode()
    assert written.count("\n") == 1
    assert found(f"{before}\n{written}") == error


@given(junk=st.text(max_size=200))
def test_any_other_last_line_is_about_something_else(junk: str) -> None:
    assert found(junk) is None
    assert found(f"{line(DISK).decode()}{junk}end") is None


def test_a_name_that_is_no_text_is_told_as_far_as_it_is() -> None:
    odd = Path(os.fsdecode(b"/models/32b-\xff.gguf"))
    assert found(line(ReadError(str(odd), 5)).decode()) == ReadError("/models/32b-\ufffd.gguf", 5)


def test_a_damaged_line_is_nothing() -> None:
    assert found(line(DISK).decode()[:-9]) is None
    assert found("unreadable: []") is None
    assert found("") is None


def test_a_disk_that_fails_is_told_with_file_byte_and_what_to_look_at() -> None:
    told = problem(DISK, "32B")
    assert told.title == "The disk could not be read"
    assert told.detail == "32B could not go on: reading /models/32b.gguf at byte 740,556,800 failed."
    assert "dmesg" in told.hint
    assert "smartctl" in told.hint


def test_a_file_that_was_cut_short_is_not_blamed_on_the_disk() -> None:
    told = problem(ReadError("/models/32b.gguf", 740_556_800, 740_556_800), "32B")
    assert told.title == "The model's file was cut short"
    assert "only 740,556,800 bytes now" in told.detail
    assert "smartctl" not in told.hint


def test_broken_memory_is_not_blamed_on_the_disk_either() -> None:
    assert problem(ReadError("/m.gguf", 5, 10, memory=True), "32B").title == "A part of main memory is broken"


def test_it_keeps_its_kind_over_the_wire() -> None:
    assert isinstance(from_info(to_info(problem(DISK, "32B"))), Unreadable)


async def test_a_host_that_is_gone_is_explained_by_the_last_line_of_its_log(tmp_path: Path) -> None:
    import socket

    from backends.host.linesocket import LineSocket

    ours, theirs = socket.socketpair()
    client = HostClient(LineSocket(ours), tmp_path)
    theirs.close()
    assert isinstance(client.died(), EngineDied)
    (tmp_path / "log").write_bytes(b"warning: something\n" * 3000 + line(DISK))
    assert client.died().title == "The disk could not be read"
    (tmp_path / "log").write_bytes(line(DISK) + b"a new host\n")
    assert "a new host" in client.died().detail
    await client.close()
