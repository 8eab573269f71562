"""Reading headers: versions, bounds, what is kept and skipped, and where a fault lies."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from backends.errors import BadModelFile, ModelNotFound
from backends.gguf import files
from backends.gguf.files import read_shape
from backends.gguf.problems import BadGguf
from backends.gguf.reader import Array, Header, Skipped, read_header
from backends.gguf.source import FIRST_CHUNK, LARGEST_CHUNK
from backends.gguf.tensors import tensor_size
from tests.gguf_files import QWEN_32B, gguf_header, sparse_model

U8, U32, F32, BOOL, TEXT, LIST, U64, F64, I32 = 0, 4, 6, 7, 8, 9, 10, 12, 5
TENSORS: dict[str, tuple[int, tuple[int, ...]]] = {"a": (0, (8, 4)), "b": (12, (256, 3))}


class Memory:
    """Bytes in memory that count how often they are asked; `size` may be claimed."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.asked: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.data[offset : offset + length].ljust(min(length, self.size - offset), b"\0")


def head(metadata: dict[str, tuple[int, Any]] | None = None, tensors: dict[str, Any] | None = None) -> bytes:
    return gguf_header(metadata or {}, TENSORS if tensors is None else tensors)[0]


def read(data: bytes, size: int | None = None) -> Header:
    return read_header(Memory(data, len(data) + 2000 if size is None else size), "m.gguf")


def refused(data: bytes, size: int | None = None) -> BadGguf:
    with pytest.raises(BadGguf) as caught:
        read(data, size)
    assert isinstance(caught.value, BadModelFile)
    assert caught.value.hint
    return caught.value


def test_values_of_all_types_come_back() -> None:
    forms = (U8, 1, 2, 3, U32, I32, F32, BOOL, TEXT, U64, 11, F64)
    given: dict[str, tuple[int, Any]] = {
        f"key{kind}": (kind, "naïve" if kind == TEXT else True if kind == BOOL else 3) for kind in forms
    }
    header = read(head(given))
    assert header.metadata == {key: value for key, (_, value) in given.items()}
    assert header.integer("key4") == 3
    assert header.integer("key7") is None, "true is no number"
    assert header.text("key4") == ""
    assert [(one.name, one.shape, one.offset, one.size) for one in header.tensors] == [
        ("a", (8, 4), 0, 128),
        ("b", (256, 3), 128, 432),
    ]
    assert header.data_offset % 32 == 0


def test_version_2_is_read_and_the_others_are_named() -> None:
    data = bytearray(head())
    data[4:8] = struct.pack("<I", 2)
    assert read(bytes(data)).version == 2
    for version, says in ((struct.pack("<I", 1), "version is 1"), (struct.pack("<I", 0), "version is 0"),
                          (struct.pack("<I", 4), "version is 4"), (struct.pack(">I", 3), "big endian")):  # fmt: skip
        data[4:8] = version
        error = refused(bytes(data))
        assert error.title == "This version of GGUF is not supported"
        assert says in error.detail
        assert error.offset == 4


@pytest.mark.parametrize(
    "data", [b"", b"G", b"GGU", b"GGML" + bytes(100), b"<!DOCTYPE html>", b"version https://git-lfs"]
)
def test_what_is_no_gguf_is_called_so(data: bytes) -> None:
    assert refused(data, len(data)).title == "This is not a GGUF model"


def test_short_lists_are_kept_and_long_ones_counted() -> None:
    words, numbers = [f"w{n}" for n in range(5000)], list(range(513))
    header = read(head({
        "short": (LIST, (TEXT, words[:64])), "long": (LIST, (TEXT, words)), "empty": (LIST, (I32, [])),
        "layers": (LIST, (I32, numbers[:512])), "more": (LIST, (I32, numbers)), "after": (U32, 7),
    }))  # fmt: skip
    assert header.metadata["short"] == Array("text", 64, sum(8 + len(word) for word in words[:64]), tuple(words[:64]))
    assert header.metadata["long"] == Array("text", 5000, sum(8 + len(word) for word in words))
    assert header.metadata["layers"] == Array("i32", 512, 2048, tuple(numbers[:512]))
    assert header.metadata["more"] == Array("i32", 513, 2052)
    assert header.metadata["empty"] == Array("i32", 0, 0, ())
    assert header.metadata["after"] == 7


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 255, 256, 300, 70_000])
def test_texts_of_every_length_are_stepped_over(length: int) -> None:
    # More than one piece of the file, and one long text in a run of short ones.
    words = ["x" * (place % 30) for place in range(30_000)]
    words[111] = words[29_000] = "\0" * length
    header = read(head({"list": (LIST, (TEXT, words)), "after": (TEXT, "here")}))
    assert header.metadata["after"] == "here"
    assert header.metadata["list"] == Array("text", 30_000, sum(8 + len(word) for word in words))


def test_templates_are_kept_and_longer_texts_are_not() -> None:
    header = read(head({"template": (TEXT, "x" * 2**20), "tokenizer": (TEXT, "x" * (2**20 + 1)), "z": (U8, 1)}))
    assert header.text("template") == "x" * 2**20
    assert header.metadata["tokenizer"] == Skipped(2**20 + 1)
    many = read(head({f"text{number}": (TEXT, "x" * 2**20) for number in range(6)}))
    assert [type(value) for value in many.metadata.values()] == [str] * 3 + [Skipped] * 3


def test_a_file_is_asked_for_in_few_pieces_and_never_for_its_weights(tmp_path: Path) -> None:
    path = sparse_model(tmp_path / "model.gguf", QWEN_32B)
    with path.open("rb") as file:
        memory = Memory(file.read(10_000_000), path.stat().st_size)
    header = read_header(memory, "m.gguf")
    assert len(memory.asked) <= 5
    assert max(length for _, length in memory.asked) <= LARGEST_CHUNK
    assert memory.asked[0] == (0, FIRST_CHUNK)
    assert all(one + length <= two for (one, length), (two, _) in zip(memory.asked, memory.asked[1:], strict=False))
    assert memory.asked[-1][0] < header.data_offset


def test_numbers_that_are_not_kept_are_not_asked_for() -> None:
    # 2,000 MB of numbers that are not there.
    claimed = struct.pack("<IQ", I32, 500_000_000)
    data = struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q1sI", 1, b"n", LIST) + claimed
    memory = Memory(data, len(data) + 2_000_000_000)
    assert read_header(memory, "m").metadata["n"] == Array("i32", 500_000_000, 2_000_000_000)
    assert sum(length for _, length in memory.asked) == FIRST_CHUNK


@pytest.mark.parametrize("form", ["<I", "<Q"])
def test_every_cut_is_told_as_a_file_that_ends_too_early(form: str) -> None:
    data = head({"general.name": (TEXT, "name"), "list": (LIST, (TEXT, ["a"] * 100)), "n": (LIST, (I32, [1] * 600))})
    for length in range(8, len(data)):
        error = refused(data[:length], length)
        assert "the file ends" in error.detail
        assert error.offset is not None
        assert error.offset <= length


def test_a_file_cut_in_its_weights_says_how_many_bytes_are_missing(tmp_path: Path) -> None:
    path = sparse_model(tmp_path / "model.gguf", QWEN_32B, small_vocabulary=True)
    whole = read_shape(path).file_bytes
    os.truncate(path, whole - 4096)
    with pytest.raises(BadGguf) as caught:
        read_shape(path)
    assert caught.value.missing_bytes == 4096
    assert f"4096 bytes are missing: it has {whole - 4096} of {whole}" in caught.value.detail
    os.truncate(path, whole)
    assert read_shape(path).file_bytes == whole


def test_the_padding_after_the_last_tensor_may_be_missing() -> None:
    data = head()
    begin = -(-len(data) // 32) * 32
    assert read(data, begin + 128 + 432).missing_bytes == 0
    assert read(data, begin + 128 + 431).missing_bytes == 1
    assert read(data, len(data)).missing_bytes == begin - len(data) + 560


def test_a_type_of_tomorrow_takes_its_size_from_its_place() -> None:
    data = head()
    at = data.index(struct.pack("<Q1sI", 1, b"a", 2)) + 8 + 1 + 4 + 16
    data = data[:at] + struct.pack("<I", 99) + data[at + 4 :]
    header = read(data)
    assert [(one.type_name, one.known, one.size) for one in header.tensors] == [
        ("type 99", False, 128),
        ("q4_K", True, 432),
    ]
    last = data.rindex(struct.pack("<IQ", 12, 128))
    data = data[:last] + struct.pack("<I", 7777) + data[last + 4 :]
    begin = -(-len(data) // 32) * 32
    assert [one.size for one in read(data, begin + 1000).tensors] == [128, 1000 - 128]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (struct.pack("<QIQ", 4, 0, 0), struct.pack("<QIQ", 4, 0, 32), "the first tensor, a, lies at 32"),
        (struct.pack("<IQ", 12, 128), struct.pack("<IQ", 12, 96), "the tensor b lies at 96 of the data and not at 128"),
        (struct.pack("<IQ", 12, 128), struct.pack("<IQ", 12, 2**64 - 1), "not at 128"),
        (struct.pack("<IQQ", 2, 256, 3), struct.pack("<IQQ", 2, 255, 3), "no multiple of 256, the block of q4_K"),
        (struct.pack("<IQQ", 2, 256, 3), struct.pack("<IQQ", 2, 2**40, 2**40), "more than can be counted"),
        (struct.pack("<IQQ", 2, 256, 3), struct.pack("<IQQ", 5, 256, 3), "has 5 dimensions"),
        (struct.pack("<Q1sI", 1, b"b", 2), struct.pack("<Q1sI", 1, b"a", 2), "two tensors with the name a"),
        (struct.pack("<Q1sI", 1, b"b", 2), struct.pack("<Q1sI", 64, b"b", 2), "should be 64 bytes long"),
        (struct.pack("<QQ", 2, 3), struct.pack("<QQ", 2**63, 3), "claims 9223372036854775808 tensors"),
        (struct.pack("<QQ", 2, 3), struct.pack("<QQ", 2, 2**62), "the file ends"),
        (b"\x01\0\0\0\0\0\0\0y", b"\x01\0\0\0\0\0\0\0x", "the key x is there twice"),
        (b"\x01\0\0\0\0\0\0\0y", b"\x00\0\0\0\0\0\0\0y", "a key of its metadata is empty"),
        (b"x" + struct.pack("<IB", U8, 5), b"x" + struct.pack("<IB", 13, 5), "unknown type 13"),
        (struct.pack("<IIQ", LIST, TEXT, 65), struct.pack("<IIQ", LIST, LIST, 65), "a list of the unknown type 9"),
        (struct.pack("<IIQ", LIST, TEXT, 65), struct.pack("<IIQ", LIST, TEXT, 2**63), "longer than that of any model"),
        (struct.pack("<IIQ", LIST, TEXT, 65), struct.pack("<IIQ", LIST, 12, 2**61), "the file ends"),
    ],
)  # fmt: skip
def test_each_lie_is_refused_by_name(old: bytes, new: bytes, says: str) -> None:
    data = head({"x": (U8, 5), "y": (U8, 6), "list": (LIST, (TEXT, ["w"] * 65))})
    assert data.count(old) >= 1
    assert says in refused(data.replace(old, new, 1)).detail


@pytest.mark.parametrize("alignment", [(U32, 0), (U32, 33), (TEXT, "32"), (F32, 32.0)])
def test_an_alignment_that_is_none_is_refused(alignment: tuple[int, Any]) -> None:
    assert "no power of two" in refused(head({"general.alignment": alignment})).detail


def test_a_larger_alignment_moves_the_weights() -> None:
    assert read(head({"general.alignment": (U32, 4096)}, {"a": (0, (8,))}), 9000).data_offset == 4096


def test_sizes_of_odd_tensors() -> None:
    assert tensor_size((), 0) == 4
    assert tensor_size((0, 5), 0) == 0
    assert tensor_size((256, 1, 1, 2), 12) == 288
    assert tensor_size((3,), 4) is None


def test_what_is_no_file_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read_shape(tmp_path / "none.gguf")
    with pytest.raises(BadGguf, match="not a file"):
        read_shape(tmp_path)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(BadGguf, match="not a file"):
        read_shape(tmp_path / "pipe.gguf")
    with pytest.raises(BadGguf, match="not a file"):
        read_shape(Path("/dev/zero"))
    with pytest.raises(BadGguf):
        read_shape(tmp_path / "nul\0.gguf")


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    monkeypatch.setattr(files, "read_header", lambda source, name: reads.append(name) or read_header(source, name))
    path = sparse_model(tmp_path / "model.gguf", QWEN_32B, small_vocabulary=True)
    assert read_shape(path) is read_shape(path)
    assert len(reads) == 1
    os.utime(path, ns=(1, 1))
    read_shape(path)
    assert len(reads) == 2
