"""Where the weights that stream lie: each byte once, in the order of use, and as many of them as was asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.gguf.files import read_shape
from backends.llama_cpp.streaming.ranges import (
    FOLIO_BYTES,
    GRAIN_BYTES,
    PAGE_BYTES,
    Ranges,
    Span,
    Unit,
    merged,
    ranges_of,
    read_headers,
    share,
    total,
)
from tests.backends.test_gguf_split import split
from tests.gguf_files import QWEN_14B, QWEN_32B, sparse_model

_PADDING = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sparse_model(tmp_path_factory.mktemp("model") / "m.gguf", QWEN_14B, "Q3_K_S", small_vocabulary=True)


def test_all_but_the_embedding_is_read_by_halves_of_layers_and_the_output_last(model: Path) -> None:
    ranges, shape = ranges_of(*read_headers(model), 48), read_shape(model)
    assert [unit.begins for unit in ranges.units[:3]] == ["attn_norm-0", "ffn_norm-0", "attn_norm-1"]
    assert [unit.begins for unit in ranges.units[-2:]] == ["ffn_norm-47", "result_norm"]
    assert len(ranges.units) == 2 * 48 + 1
    padded = _PADDING * 12 * 48
    assert shape.weight_bytes - shape.embedding_bytes <= ranges.read_bytes
    assert ranges.read_bytes <= shape.weight_bytes - shape.embedding_bytes + padded
    assert total(ranges.idle) == shape.embedding_bytes
    assert ranges.units[-1].size == pytest.approx(shape.output_bytes, abs=_PADDING)
    halves = [one.size + other.size for one, other in zip(ranges.units[:-1:2], ranges.units[1:-1:2], strict=True)]
    assert halves == pytest.approx([block.bytes for block in shape.blocks], abs=12 * _PADDING)


def test_what_is_on_the_card_is_not_read_here(model: Path) -> None:
    shape = read_shape(model)
    ranges = ranges_of(*read_headers(model), 20, ("ffn_down",), output_here=False)
    assert [unit.begins for unit in ranges.units[-2:]] == ["ffn_norm-19", "ffn_norm-20"]
    assert ranges.units[-1].size == shape.blocks[20].feed_forward[2]
    assert ranges.read_bytes + total(ranges.idle) == pytest.approx(shape.weight_bytes, abs=_PADDING * 600)


def test_an_embedding_that_serves_as_output_is_read_with_each_token(tmp_path: Path) -> None:
    tied = sparse_model(tmp_path / "t.gguf", dataclasses.replace(QWEN_14B, tied=True), small_vocabulary=True)
    ranges, shape = ranges_of(*read_headers(tied), 48), read_shape(tied)
    assert ranges.units[-1].begins == "result_norm"
    assert ranges.units[-1].size >= shape.embedding_bytes
    on_card = ranges_of(*read_headers(tied), 47, output_here=False)
    assert total(on_card.idle) >= shape.embedding_bytes


def test_of_a_split_model_each_byte_is_in_its_own_file(tmp_path: Path) -> None:
    paths = split(tmp_path)
    parts, headers = read_headers(paths[2])
    assert parts == tuple(paths)
    ranges = ranges_of(parts, headers, 3)
    assert [[span.part for span in unit.held] for unit in ranges.units] == [[0], [1], [2], [0]]
    for unit in ranges.units:
        for span in unit.held:
            assert span.end <= paths[span.part].stat().st_size


@given(
    st.lists(st.integers(1, 200 * 1024**2), min_size=1, max_size=130),
    st.floats(0, 1.2),
)
def test_as_much_streams_as_was_asked_and_nothing_is_lost_or_counted_twice(sizes: list[int], part: float) -> None:
    units, place = [], 12_345
    for number, size in enumerate(sizes):
        units.append(Unit(f"unit-{number}", (Span(0, place, place + size),)))
        place += size
    whole = Ranges((Path("m"),), tuple(units), ())
    wanted = round(part * whole.read_bytes)
    shared = share(whole, wanted)
    streamed = sum(total(unit.streamed) for unit in shared.units)
    # What the page cache drops only as a whole, and pieces too small to be worth it, may stay.
    assert streamed <= min(wanted, whole.read_bytes) + FOLIO_BYTES
    stays = sum(2 * FOLIO_BYTES if size >= 2 * GRAIN_BYTES else 2 * PAGE_BYTES for size in sizes)
    assert streamed >= min(wanted, whole.read_bytes) - GRAIN_BYTES - stays
    for before, after in zip(whole.units, shared.units, strict=True):
        assert tuple(merged((*after.held, *after.streamed))) == before.held
        assert after.size == before.size
        # It is read at a stretch.
        assert len(after.streamed) <= 1
    assert share(shared, wanted) == shared


def test_what_streams_is_spread_evenly(tmp_path: Path) -> None:
    path = sparse_model(tmp_path / "m.gguf", QWEN_32B, "Q3_K_S", small_vocabulary=True)
    ranges = share(ranges_of(*read_headers(path), 32, output_here=False), 1_400_000_000)
    passed = streamed = 0
    for unit in ranges.units:
        passed, streamed = passed + unit.size, streamed + total(unit.streamed)
        even = 1_400_000_000 * passed / ranges.read_bytes
        assert abs(streamed - even) <= GRAIN_BYTES + FOLIO_BYTES
