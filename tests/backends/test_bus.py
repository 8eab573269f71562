"""A mapped file that cannot be read any more ends the process with the file and the byte, whoever touched it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.llama_cpp.streaming import bus
from backends.llama_cpp.streaming.bus import STATUS
from backends.read_errors import ReadError, found

PAGE = mmap.PAGESIZE
pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not tell what is mapped")

TOUCH = """
import ctypes, mmap, os, pathlib, sys, threading, time
from backends.llama_cpp.streaming import bus
from backends.llama_cpp.streaming.maps import maps_of

how, path, offset, length = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
assert bus.watch([path])
file = open(path, "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
if how != "unseen":
    bus.watch([path])
address = next(mapped.address for mapped in maps_of([path]))
size = path.stat().st_size
if length < size:
    os.truncate(path, length)
place, target = address + offset, ctypes.create_string_buffer(64)
release, hold = ctypes.CDLL(None).memcpy, ctypes.PyDLL(None).memcpy
for function in (release, hold):
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

def spin():
    while True:
        sum(range(1000))

def allocate():
    while True:
        [bytearray(size) for size in range(1, 9000, 7)]

def touch(function=release):
    function(target, place, 8)

if how == "native":  # Threads that the interpreter has never seen, as those that the engine computes with.
    libc = ctypes.CDLL(None)
    routine = ctypes.cast(libc.strlen, ctypes.c_void_p)  # It reads at its argument.
    thread = ctypes.c_ulong()
    libc.pthread_create.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    libc.pthread_create(ctypes.byref(thread), None, routine, place)
    spin()
if how in ("busy", "many"):
    for work in (spin, allocate):
        threading.Thread(target=work, daemon=True).start()
if how == "many":
    barrier = threading.Barrier(6)
    for _ in range(5):
        threading.Thread(target=lambda: (barrier.wait(), touch()), daemon=True).start()
    barrier.wait()
if how == "late":  # Another thread meets another byte when all is told and the process has not yet gone.
    leave = os._exit
    os._exit = lambda status: (time.sleep(0.5), leave(status))
    place_of_first, place = place, place + mmap.PAGESIZE
    threading.Thread(target=lambda: release(target, place_of_first, 8), daemon=True).start()
    time.sleep(0.2)
if how == "elsewhere":
    other = path.with_name("other")
    other.write_bytes(bytes(2 * mmap.PAGESIZE))
    opened = open(other, "rb")
    second = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
    place = next(mapped.address for mapped in maps_of([other])) + mmap.PAGESIZE
    os.truncate(other, 1)
touch(hold if how == "holding" else release)
"""


def touched(how: str, path: Path, offset: int, length: int) -> tuple[int, str]:
    """Return how a child ends that touches a byte of a file of which `length` bytes are left, and what it says."""
    path.write_bytes(b"x" * (64 * PAGE))
    command = [sys.executable, "-P", "-c", TOUCH, how, str(path), str(offset), str(length)]
    environment = {**os.environ, "PYTHONPATH": str(Path(bus.__file__).parents[3])}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("how", ["released", "holding", "native", "busy", "many", "late", "unseen"])
def test_the_file_and_the_byte_are_its_last_words(tmp_path: Path, how: str) -> None:
    file, offset = tmp_path / "model.gguf", 40 * PAGE + 128
    status, said = touched(how, file, offset, 10 * PAGE)
    assert (status, found(said)) == (STATUS, ReadError(str(file), offset, 10 * PAGE))


def test_it_never_hangs_and_never_says_another_byte(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    for page in range(12, 36, 4):
        status, said = touched("many", file, page * PAGE, 10 * PAGE)
        assert (status, found(said)) == (STATUS, ReadError(str(file), page * PAGE, 10 * PAGE))


def test_a_bus_error_in_other_memory_is_not_blamed_on_the_model(tmp_path: Path) -> None:
    status, said = touched("elsewhere", tmp_path / "model.gguf", 0, 64 * PAGE)
    assert status == STATUS
    assert found(said) is None
    assert "no part of the model's files" in said


def test_a_file_that_can_be_read_ends_nothing(tmp_path: Path) -> None:
    assert touched("released", tmp_path / "model.gguf", 40 * PAGE, 64 * PAGE) == (0, "")
