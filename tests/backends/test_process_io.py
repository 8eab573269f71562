"""What the kernel counts of a process, read from files as it writes them, and from the true ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.hardware.io_counters import written_by
from backends.hardware.process_io import Counts, counts, stalled, swapped_out

STAT = "{pid} ({name}) R 1 1 1 0 -1 4194304 5000 10 {faults} 3 100 50 0 0 20 0 5 0 12345 1000000 2000"
IO = "rchar: 5\nwchar: 6\nsyscr: 1\nsyscw: 1\nread_bytes: 4096000\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n"


def process(root: Path, pid: int | str = 7, *, name: str = "python", faults: str = "310", swap: str = "12 kB") -> Path:
    folder = root / f"proc/{pid}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "io").write_text(IO)
    (folder / "stat").write_text(STAT.format(pid=pid, name=name, faults=faults))
    (folder / "status").write_text(f"Name:\tx\nVmRSS:\t  99 kB\nVmSwap:\t      {swap}\n")
    return folder


def test_a_process_is_told_by_its_four_counts(tmp_path: Path) -> None:
    process(tmp_path)
    assert counts(7, tmp_path) == Counts(4_096_000, 310, 8192, 12 * 1024)


def test_a_process_that_is_gone_or_somebody_elses_is_unknown_and_not_zero(tmp_path: Path) -> None:
    assert counts(7, tmp_path) == Counts()
    process(tmp_path)
    (tmp_path / "proc/7/io").unlink()
    assert counts(7, tmp_path) == Counts(None, 310, None, 12 * 1024)


@given(name=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=15))
def test_no_name_of_a_program_moves_the_count_of_its_faults(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    root = tmp_path_factory.mktemp("named")
    process(root, name=name)
    assert counts(7, root).page_faults == 310


@given(junk=st.binary(max_size=200))
def test_junk_in_the_kernels_files_is_nothing(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    root = tmp_path_factory.mktemp("junk")
    folder = process(root)
    for name in ("io", "stat", "status"):
        (folder / name).write_bytes(junk)
    found = counts(7, root)
    assert all(one is None or one >= 0 for one in (found.read_bytes, found.page_faults, found.written_bytes))


def test_our_own_counts_are_known_on_linux() -> None:
    found = counts()
    if Path("/proc/self/io").exists():
        assert None not in (found.read_bytes, found.page_faults, found.written_bytes)
        assert written_by(os.getpid()) is not None
    assert written_by(1 << 30) is None


def test_what_the_machine_swapped_out_and_how_long_it_stood_still(tmp_path: Path) -> None:
    assert (swapped_out(tmp_path), stalled(tmp_path)) == (None, None)
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/vmstat").write_text("pswpin 4\npswpout 777\n")
    some = "some avg10=90.00 avg60=0.00 avg300=0.00 total=5\n"
    (tmp_path / "proc/pressure/memory").write_text(f"{some}full avg10=12.50 avg60=1.00 avg300=0.00 total=5\n")
    assert (swapped_out(tmp_path), stalled(tmp_path)) == (777, 0.125)
    (tmp_path / "proc/pressure/memory").write_text("full\nfull avg10=x\n")
    assert stalled(tmp_path) is None
