"""Importance matrices of both forms: what they hold, and what is wrong with one before a run of hours begins."""

from __future__ import annotations

import contextlib
import math
import os
import struct
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import BackendError, BadModelFile, ModelNotFound
from backends.gguf.files import read_headers
from backends.gguf.imatrix import Importance, fitted, read_importance
from backends.gguf.mixes import Choice, Mix, Rule
from backends.gguf.mixing import types_of
from backends.gguf.reader import Header
from backends.gguf.source import FileBytes
from tests.gguf_files import Model, gguf_header, sparse_model

U32, TEXT, ARRAY, F32 = 4, 8, 9, 0
FACTS = {
    "general.type": (TEXT, "imatrix"),
    "imatrix.datasets": (ARRAY, (TEXT, ["calibration.txt", "other.txt"])),
    "imatrix.chunk_count": (U32, 125),
    "imatrix.chunk_size": (U32, 512),
}
SMALL = Model("a small one", "qwen2", 1, 256, 512, 4, 2, 300, head=64)
MIX = Mix("mine", "Mine", "Q3_K_S", (Rule(("ffn_*",), "iq3_xxs"),))
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")

Sums = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def modern(path: Path, entries: Sums, facts: Mapping[str, tuple[int, object]] = FACTS) -> Path:
    """Write sums and counts as llama-imatrix does; each count is of one expert."""
    tensors, data = {}, b""
    for name, (sums, counts) in entries.items():
        rows = max(1, len(counts))
        tensors[f"{name}.in_sum2"] = (F32, (len(sums) // rows, rows))
        tensors[f"{name}.counts"] = (F32, (1, rows))
        for values in (sums, counts):
            packed = struct.pack(f"<{len(values)}f", *values)
            data += packed + bytes(-len(packed) % 32)
    head, _ = gguf_header(facts, tensors)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def legacy(path: Path, entries: Mapping[str, tuple[Sequence[float], int]], end: bytes = b"") -> Path:
    """Write values, multiplied by their calls, as llama-imatrix did."""
    parts = [struct.pack("<i", len(entries))]
    for name, (values, calls) in entries.items():
        parts += [struct.pack("<i", len(name)), name.encode(), struct.pack("<ii", calls, len(values))]
        parts.append(struct.pack(f"<{len(values)}f", *(value * max(1, calls) for value in values)))
    path.write_bytes(b"".join(parts) + end)
    return path


def whole() -> Importance:
    names = {f"blk.0.{name}.weight": 512 if name == "ffn_down" else 256 for name in MATRICES}
    return Importance({name: array("f", [1.0] * count) for name, count in names.items()}, 0, "")


@pytest.fixture
def source(tmp_path: Path) -> list[Header]:
    path = sparse_model(tmp_path / "source.gguf", SMALL, "F16", small_vocabulary=True)
    return list(read_headers(path).values())


def choices(source: list[Header], mix: Mix = MIX) -> tuple[Choice, ...]:
    return types_of(mix, source, importance=True)


def test_sums_are_divided_by_their_counts(tmp_path: Path) -> None:
    entries = {"a.weight": ([2.0, 4.0, 9.0], [2.0]), "experts.weight": ([2.0, 4.0, 5.0, 6.0], [2.0, 0.0])}
    found = read_importance(modern(tmp_path / "m.gguf", entries))
    # An expert that was never asked is as important as any.
    assert {name: list(values) for name, values in found.entries.items()} == {
        "a.weight": [1.0, 2.0, 4.5],
        "experts.weight": [1.0, 2.0, 1.0, 1.0],
    }
    assert (found.chunks, found.dataset) == (125, "calibration.txt")


def test_the_older_form_says_the_same(tmp_path: Path) -> None:
    entries = {"a.weight": ([1.0, 2.0, 4.5], 3), "b.weight": ([7.0], 0)}
    path = legacy(tmp_path / "m.imatrix", entries, struct.pack("<ii", 125, 5) + b"c.txt")
    found = read_importance(path)
    assert {name: list(values) for name, values in found.entries.items()} == {
        "a.weight": [1.0, 2.0, 4.5],
        "b.weight": [7.0],
    }
    assert (found.chunks, found.dataset) == (125, "c.txt")
    assert read_importance(legacy(tmp_path / "short.imatrix", entries)).chunks == 0


def test_a_whole_matrix_fits_its_model(source: list[Header]) -> None:
    found = fitted(whole(), Path("m.imatrix"), MIX, choices(source), source)
    assert found.entries == whole().entries
    # Importance is not measured for the two ends.
    assert found.missing == ("token_embd.weight", "output.weight")


def test_what_it_lacks_is_listed_where_the_type_can_do_without(source: list[Header]) -> None:
    importance = whole()
    del importance.entries["blk.0.attn_q.weight"]
    found = fitted(importance, Path("m.imatrix"), MIX, choices(source), source)
    assert "blk.0.attn_q.weight" in found.missing


def test_a_type_that_is_garbage_without_its_entry_is_refused(source: list[Header]) -> None:
    importance = whole()
    del importance.entries["blk.0.ffn_down.weight"]
    with pytest.raises(BadModelFile) as caught:
        fitted(importance, Path("m.imatrix"), MIX, choices(source), source)
    what = "m.imatrix: it has no entry for blk.0.ffn_down.weight, and iq3_xxs is garbage without one"
    assert caught.value.detail == what


def test_a_matrix_of_another_model_is_refused(source: list[Header]) -> None:
    importance = whole()
    importance.entries["blk.0.attn_v.weight"] = array("f", [1.0] * 10)
    with pytest.raises(BadModelFile, match=r"it has 10 values for blk\.0\.attn_v\.weight, which has 256 columns"):
        fitted(importance, Path("m.imatrix"), MIX, choices(source), source)


def test_an_entry_of_the_embedding_may_have_any_length(source: list[Header]) -> None:
    importance = whole()
    importance.entries["token_embd.weight"] = array("f", [1.0])
    found = fitted(importance, Path("m.imatrix"), MIX, choices(source), source)
    assert "token_embd.weight" not in found.entries


def test_what_is_copied_needs_no_entry(source: list[Header]) -> None:
    copied = tuple(msgspec.structs.replace(one, before=one.after) for one in choices(source))
    assert fitted(Importance({}, 0, ""), Path("m.imatrix"), MIX, copied, source).missing == ()


A = {"a.weight": ([1.0, 2.0], [1.0])}


@pytest.mark.parametrize(
    ("entries", "facts", "said"),
    [
        (A, {}, "not an importance matrix: it does not say from how much text"),
        ({}, FACTS, "it has no entries"),
        ({"a.weight": ([1.0, math.nan], [1.0])}, FACTS, "the entry a.weight has values that are no numbers"),
        ({"a.weight": ([1.0, math.inf], [1.0])}, FACTS, "the entry a.weight has values that are no numbers"),
        ({"a.weight": ([1.0, -1.0], [1.0])}, FACTS, "the entry a.weight has values that are no numbers"),
        ({"a.weight": ([1.0, 2.0], [math.nan])}, FACTS, "sums and counts of a.weight do not belong together"),
    ],
)
def test_what_is_wrong_with_a_matrix_is_told(
    entries: Sums, facts: Mapping[str, tuple[int, object]], said: str, tmp_path: Path
) -> None:
    path = modern(tmp_path / "m.gguf", entries, facts)
    with pytest.raises(BadModelFile, match="The importance matrix cannot be used") as caught:
        read_importance(path)
    assert caught.value.detail.startswith("m.gguf: ")
    assert said in caught.value.detail
    assert caught.value.hint


def test_sums_without_counts_and_other_types_are_told(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    for tensors, said in (
        ({"a.in_sum2": (F32, (8, 1))}, "sums or counts of an entry are missing"),
        ({"a.in_sum2": (1, (8, 1)), "a.counts": (F32, (1, 1))}, "a.in_sum2 is not of f32"),
        ({"a.in_sum2": (F32, (8, 1)), "a.counts": (F32, (1, 3))}, "do not belong together"),
    ):
        head, size = gguf_header(FACTS, tensors)
        path.write_bytes(head + bytes(-len(head) % 32 + size))
        with pytest.raises(BadModelFile) as caught:
            read_importance(path)
        assert said in caught.value.detail


def test_a_file_that_was_cut_is_told_wherever_that_is(tmp_path: Path) -> None:
    for path in (
        modern(tmp_path / "m.gguf", {"a.weight": ([1.0] * 8, [1.0]), "b.weight": ([1.0] * 64, [1.0])}),
        legacy(tmp_path / "m.imatrix", {"a.weight": ([1.0] * 8, 1), "b.weight": ([1.0] * 8, 1)}),
    ):
        data = path.read_bytes()
        # What pads the last count of a GGUF file may lack.
        for end in range(0, len(data) - 31, 7):
            path.write_bytes(data[:end])
            with pytest.raises(BadModelFile):
                read_importance(path)


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"hello, this is a text of some length", b"\xff" * 64])
def test_another_file_is_told(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.imatrix").write_bytes(data)
    with pytest.raises(BadModelFile, match=r"m\.imatrix"):
        read_importance(tmp_path / "m.imatrix")


def test_of_a_large_file_of_another_kind_only_the_beginning_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"any other")
    os.truncate(path, 1024**3)
    read: list[int] = []
    true_read = FileBytes.read

    def counted(source: FileBytes, offset: int, size: int) -> bytes:
        read.append(size)
        return true_read(source, offset, size)

    monkeypatch.setattr(FileBytes, "read", counted)
    with pytest.raises(BadModelFile, match="no importance matrix"):
        read_importance(path)
    assert sum(read) < 100


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read_importance(tmp_path / "m.imatrix")


@given(data=st.binary(max_size=200) | st.binary(max_size=100).map((struct.pack("<ii", 1, 1) + b"a").__add__))
def test_any_bytes_are_a_matrix_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.imatrix"
    path.write_bytes(data)
    with contextlib.suppress(BackendError):
        found = read_importance(path)
        assert found.entries
        assert all(math.isfinite(one) and one >= 0 for values in found.entries.values() for one in values)
