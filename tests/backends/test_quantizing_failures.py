"""Quantising that goes wrong: each time a sentence says why, nothing is left, and the source is as it was."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.base import Cancelled
from backends.errors import BackendError, BadModelFile, BadOptions, Busy, EngineDied, ModelNotFound
from backends.gguf.files import read_headers
from backends.gguf.mixes import Mix
from backends.llama_cpp.quantizing import child, part, prepare, run
from backends.llama_cpp.quantizing.failures import NoSpace, SourceChanged, TargetExists, refused
from backends.llama_cpp.quantizing.messages import Failed
from backends.llama_cpp.quantizing.part import Part
from tests.backends.quantizing_world import ALL_4, LONG, MIB, Quantizer, split, write_matrix, write_small
from tests.gguf_files import Model


@pytest.fixture(scope="module")
def long_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small(tmp_path_factory.mktemp("long") / "model-F16.gguf", LONG)


@pytest.fixture
def quantizer(tmp_path: Path, home: Path) -> Quantizer:
    quantizer = Quantizer(tmp_path)
    write_small(quantizer.source)
    return quantizer


@pytest.fixture
def long(tmp_path: Path, home: Path, long_source: Path) -> Quantizer:
    """Quantises a copy of the long source, which may be destroyed."""
    quantizer = Quantizer(tmp_path)
    quantizer.source.parent.mkdir()
    quantizer.source.write_bytes(long_source.read_bytes())
    return quantizer


def in_the_middle(quantizer: Quantizer, act: object) -> None:
    """Call `act` once, when a few tensors are done."""
    acted = threading.Event()

    def look(stage: str, note: str) -> None:
        if stage == "quantizing" and int(note.split()[1]) >= 10 and not acted.is_set():
            acted.set()
            act()  # type: ignore[operator]

    quantizer.meanwhile = look


def engine_pid() -> int:
    """Return the process that quantises for this test."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if b"backends.llama_cpp.quantizing" in words and parent == os.getpid():
                return int(entry.name)
    raise AssertionError("nobody quantises")


def test_stopped_by_the_user_nothing_is_left(long: Quantizer) -> None:
    in_the_middle(long, long.cancel.set)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        long.quantize(mix=ALL_4, threads=1)
    assert time.monotonic() - began < 8
    assert long.left == []


def test_a_source_that_is_cut_short_meanwhile_is_named(long: Quantizer) -> None:
    """The engine dies of it: it has mapped the file."""
    in_the_middle(long, lambda: os.truncate(long.source, 30 * MIB))
    with pytest.raises(SourceChanged, match="changed while it was read") as caught:
        long.quantize(mix=ALL_4, threads=1)
    assert "in/model-F16.gguf" in caught.value.detail
    assert long.left == []


def test_a_source_that_is_written_to_meanwhile_is_named(long: Quantizer) -> None:
    """The engine does not notice: the numbers are as good as others."""

    def write() -> None:
        with long.source.open("r+b") as opened:
            opened.seek(-4096, os.SEEK_END)
            opened.write(bytes(4096))

    in_the_middle(long, write)
    with pytest.raises(SourceChanged):
        long.quantize(mix=ALL_4, threads=1)
    assert long.left == []


def test_a_source_that_another_file_replaces_meanwhile_is_named(long: Quantizer) -> None:
    in_the_middle(long, lambda: write_small(long.folder / "other.gguf").replace(long.source))
    with pytest.raises(SourceChanged):
        long.quantize(mix=ALL_4, threads=1)
    assert long.left == []


def test_a_part_of_a_split_source_that_goes_meanwhile_is_named(long: Quantizer) -> None:
    parts = split(long.source)
    in_the_middle(long, parts[1].unlink)
    with pytest.raises(SourceChanged, match="split-00002-of-00002"):
        long.quantize(source=str(parts[0]), mix=ALL_4, threads=1)
    assert long.left == []


@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_an_engine_that_dies_is_told_by_the_signal(long: Quantizer, ends: signal.Signals) -> None:
    in_the_middle(long, lambda: os.kill(engine_pid(), ends))
    with pytest.raises(BackendError) as caught:
        long.quantize(mix=ALL_4, threads=1)
    assert isinstance(caught.value, BadModelFile if ends == signal.SIGBUS else EngineDied)
    said = {signal.SIGKILL: "main memory", signal.SIGBUS: "SIGBUS"}.get(ends, ends.name)
    assert said in f"{caught.value} {caught.value.hint}"
    assert long.left == []


def test_the_last_words_of_an_engine_that_dies_are_told(quantizer: Quantizer, monkeypatch: pytest.MonkeyPatch) -> None:
    dies = "import os, sys; sys.stderr.write('ggml.c:1: fatal error\\n'); sys.stderr.flush(); os.abort()"
    true_popen = subprocess.Popen

    def popen(command: list[str], **options: object) -> object:
        return true_popen([*command[:1], "-c", dies], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(child.subprocess, "Popen", popen)
    with pytest.raises(EngineDied, match=r"ended by SIGABRT.*ggml\.c:1: fatal error"):
        quantizer.quantize()
    assert quantizer.left == []


@pytest.fixture
def small_disk(quantizer: Quantizer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The target's folder is a disk of 1 MiB, and the result is larger."""
    folder = quantizer.target.parent
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_too_full_is_told_before_anything_is_done(quantizer: Quantizer, small_disk: Path) -> None:
    with pytest.raises(NoSpace, match=r"too full: \d+ MB are missing") as caught:
        quantizer.quantize()
    assert "1 MB free" in caught.value.detail
    assert quantizer.left == []


def test_a_disk_that_is_full_in_the_middle_is_told(
    quantizer: Quantizer, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "STAYS_FREE_BYTES", -100 * MIB)
    monkeypatch.setattr(run, "LEFT_BYTES", 0)
    with pytest.raises(NoSpace, match="The disk is full"):
        quantizer.quantize()
    assert quantizer.left == []
    assert os.statvfs(small_disk).f_bavail > 0


def test_a_disk_that_others_fill_ends_it_before_nothing_can_be_written_any_more(
    quantizer: Quantizer, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "STAYS_FREE_BYTES", -100 * MIB)
    monkeypatch.setattr(run, "BEAT_S", 0.0)
    with pytest.raises(NoSpace, match="became full"):
        quantizer.quantize()
    assert quantizer.left == []


def test_a_file_system_that_takes_no_file_so_large_is_told(
    quantizer: Quantizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 2, hard))
    try:
        with pytest.raises(BackendError, match="could not be written") as caught:
            quantizer.quantize()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "4 GB" in caught.value.hint
    assert quantizer.left == []


def test_a_folder_that_cannot_be_written_is_told(quantizer: Quantizer) -> None:
    quantizer.target.parent.write_text("no folder")
    with pytest.raises(BackendError, match="cannot be written"):
        quantizer.quantize()


def test_a_folder_that_is_for_reading_only_is_told(quantizer: Quantizer) -> None:
    folder = quantizer.target.parent
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)]
    if os.geteuid() == 0:
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("nothing may be mounted here")
    else:
        folder.chmod(0o500)
    try:
        with pytest.raises(BackendError, match=r"cannot be written|too full"):
            quantizer.quantize()
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        else:
            folder.chmod(0o700)


@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
def test_a_target_that_is_the_source_is_refused_by_whatever_name(quantizer: Quantizer, how: str) -> None:
    before = quantizer.source.read_bytes()
    quantizer.target.parent.mkdir()
    if how == "link":
        quantizer.target.symlink_to(quantizer.source)
    elif how == "hard link":
        os.link(quantizer.source, quantizer.target)
    target = quantizer.source if how == "itself" else quantizer.target
    with pytest.raises(TargetExists, match="the source itself"):
        quantizer.quantize(target=str(target), replace=True)
    assert quantizer.source.read_bytes() == before


def test_a_source_that_has_the_name_of_the_unfinished_target_is_not_written_over(quantizer: Quantizer) -> None:
    source = quantizer.source.rename(quantizer.source.with_name("new.gguf.part"))
    before = source.read_bytes()
    with pytest.raises(TargetExists, match="the source itself"):
        quantizer.quantize(source=str(source), target=str(source.with_suffix("")))
    assert source.read_bytes() == before


def test_a_download_that_is_to_go_on_is_not_written_over(quantizer: Quantizer) -> None:
    quantizer.target.parent.mkdir()
    unfinished = quantizer.target.with_name("model.gguf.part")
    unfinished.write_text("half of it")
    unfinished.with_name("model.gguf.part.json").write_text("{}")
    with pytest.raises(TargetExists, match="unfinished download"):
        quantizer.quantize(replace=True)
    assert unfinished.read_text() == "half of it"


def test_a_target_that_is_a_folder_is_refused(quantizer: Quantizer) -> None:
    quantizer.target.mkdir(parents=True)
    with pytest.raises(TargetExists, match="folder"):
        quantizer.quantize(replace=True)


def test_a_target_that_comes_meanwhile_stays_and_the_result_is_not_lost(quantizer: Quantizer) -> None:
    quantizer.meanwhile = lambda stage, _: quantizer.target.write_text("mine") if stage == "finishing" else None
    with pytest.raises(TargetExists, match="has come meanwhile") as caught:
        quantizer.quantize()
    assert quantizer.target.read_text() == "mine"
    assert quantizer.left == ["model.gguf", "model.gguf.part"]
    assert "model.gguf.part" in caught.value.detail
    (header,) = read_headers(quantizer.target.with_name("model.gguf.part")).values()
    assert not header.missing_bytes


def test_somebody_else_at_the_same_target_is_told(quantizer: Quantizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "WAIT_S", 0.2)
    other = Part(quantizer.target)
    try:
        with pytest.raises(Busy, match="being made already"):
            quantizer.quantize()
        assert quantizer.left == ["model.gguf.part"]
    finally:
        other.discard()
        other.close()


def test_a_part_that_gets_its_name_while_its_lock_is_waited_for_is_not_emptied(quantizer: Quantizer) -> None:
    first = Part(quantizer.target)
    os.write(first.descriptor, b"a whole model")
    second: list[Part] = []
    waits = threading.Thread(target=lambda: second.append(Part(quantizer.target)))
    waits.start()
    time.sleep(0.2)
    first.finish(replace=False)
    first.close()
    waits.join()
    assert quantizer.target.read_bytes() == b"a whole model"
    assert second[0].is_here()
    second[0].discard()
    second[0].close()
    assert quantizer.left == ["model.gguf"]


def test_a_part_that_is_replaced_while_it_is_written_is_not_taken_for_the_result(quantizer: Quantizer) -> None:
    def replace(stage: str, _note: str) -> None:
        unfinished = quantizer.target.with_name("model.gguf.part")
        if stage == "finishing":
            unfinished.unlink()
            unfinished.write_text("somebody else's")

    quantizer.meanwhile = replace
    with pytest.raises(BackendError, match="was replaced by another one"):
        quantizer.quantize()
    assert quantizer.left == ["model.gguf.part"]


def test_a_source_that_is_not_there_is_told(quantizer: Quantizer) -> None:
    with pytest.raises(ModelNotFound):
        quantizer.quantize(source="/nowhere/model.gguf")
    assert quantizer.left == []


def test_a_source_that_is_cut_is_told(quantizer: Quantizer) -> None:
    os.truncate(quantizer.source, quantizer.source.stat().st_size - 1000)
    with pytest.raises(BadModelFile, match="missing"):
        quantizer.quantize()


def test_a_source_that_is_no_model_is_told(quantizer: Quantizer) -> None:
    quantizer.source.write_bytes(b"hello" * 1000)
    with pytest.raises(BadModelFile, match="GGUF"):
        quantizer.quantize()


@pytest.mark.parametrize("architecture", ["bertx", "llamb"])
def test_an_architecture_that_is_not_known_is_refused(quantizer: Quantizer, architecture: str) -> None:
    model = Model("strange", architecture, 2, 256, 512, 4, 2, 512, merges=100, head=64)
    write_small(quantizer.source, model)
    with pytest.raises(BadModelFile, match=architecture):
        quantizer.quantize()
    assert quantizer.left == []


def test_weights_that_are_no_numbers_are_told(quantizer: Quantizer) -> None:
    (header,) = read_headers(quantizer.source).values()
    tensor = next(one for one in header.tensors if one.name == "blk.2.ffn_up.weight")
    with quantizer.source.open("r+b") as opened:
        opened.seek(header.data_offset + tensor.offset)
        opened.write(b"\xff\x7f" * 1000)
    with pytest.raises(BadModelFile, match=r"numbers that are none.*blk\.2\.ffn_up"):
        quantizer.quantize()
    assert quantizer.left == []


def test_a_matrix_of_another_model_is_refused(quantizer: Quantizer) -> None:
    matrix = write_matrix(quantizer.folder / "other.imatrix", {"blk.2.ffn_up.weight": 128})
    with pytest.raises(BackendError, match="importance matrix"):
        quantizer.quantize(importance=str(matrix))
    assert quantizer.left == []


def test_types_that_need_a_matrix_are_refused_without(quantizer: Quantizer) -> None:
    with pytest.raises(BadOptions, match="importance matrix"):
        quantizer.quantize(mix=Mix("tiny", "", "IQ2_XXS", ()))
    assert quantizer.left == []


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("requantizing from type q4_1 is disabled", "quantised already"),
        ("imatrix size 10 is different from tensor size 1536 for blk.0.ffn_down.weight", "matrix does not fit"),
        ("unknown model architecture: 'llamb'", "cannot quantise this model"),
        ("std::bad_alloc", "memory is too small"),
        ("", "it did not say why"),
        ("\x1b[31mred\n", r"\\x1b\[31mred"),
    ],
)
def test_what_the_engine_says_becomes_a_sentence(words: str, title: str, tmp_path: Path) -> None:
    error = refused(Failed("engine", words), tmp_path / "in.gguf", tmp_path / "out.gguf", 10**12)
    with pytest.raises(BackendError, match=title):
        raise error
    assert error.hint


def test_an_engine_that_would_make_something_else_is_not_begun(
    quantizer: Quantizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the engine knew another rule for a tensor than we do: here it never quantises what is no matrix."""
    true_task = run.Task

    def task(**values: object) -> object:
        types = {**values.pop("types"), "blk.0.attn_norm.weight": "q8_0"}  # type: ignore[dict-item]
        return true_task(types=types, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "Task", task)
    with pytest.raises(BadModelFile, match=r"something else.*blk\.0\.attn_norm\.weight"):
        quantizer.quantize()
    assert quantizer.left == []
