"""Models in several files: all parts are found and added up, and the missing one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.gguf.files import part_names, read_shape
from backends.gguf.problems import BadGguf
from tests.gguf_files import write_gguf

U16, I32, U32, TEXT, F32 = 2, 5, 4, 8, 0


def split(folder: Path, count: int = 3, tensors: int | None = None, **more: tuple[int, Any]) -> list[Path]:
    """Write a model of one layer a part, whose first part has the metadata and the embedding."""
    paths = []
    for number in range(count):
        metadata: dict[str, tuple[int, Any]] = {"split.no": (U16, number), "split.count": (U16, count)}
        weights: dict[str, tuple[int, tuple[int, ...]]] = {f"blk.{number}.attn_q.weight": (F32, (8, number + 1))}
        metadata["split.tensors.count"] = (I32, count + 1 if tensors is None else tensors)
        if number == 0:
            metadata |= {
                "general.architecture": (TEXT, "llama"),
                "llama.block_count": (U32, count),
                "llama.embedding_length": (U32, 8),
                "llama.attention.head_count": (U32, 2),
            } | more  # fmt: skip
            weights["token_embd.weight"] = (F32, (8, 10))
        paths.append(write_gguf(folder / f"m-{number + 1:05}-of-{count:05}.gguf", metadata, weights))
    return paths


def test_parts_add_up_whichever_is_named(tmp_path: Path) -> None:
    paths = split(tmp_path)
    shape = read_shape(paths[0])
    assert [block.bytes for block in shape.blocks] == [32, 64, 96]
    assert shape.embedding_bytes == 320
    assert [part.name for part in shape.parts] == [path.name for path in paths]
    assert shape.file_bytes == sum(path.stat().st_size for path in paths)
    assert read_shape(paths[2]) == shape


def test_the_missing_part_is_named_until_it_is_there(tmp_path: Path) -> None:
    paths = split(tmp_path)
    kept = paths[1].read_bytes()
    read_shape(paths[0])
    paths[1].unlink()
    with pytest.raises(BadGguf) as caught:
        read_shape(paths[0])
    assert caught.value.title == "A part of the model is missing"
    assert caught.value.file == "m-00002-of-00003.gguf"
    paths[1].write_bytes(kept)
    assert read_shape(paths[0]).layers == 3


def test_a_part_that_was_cut_is_named(tmp_path: Path) -> None:
    paths = split(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    with pytest.raises(BadGguf, match=r"m-00003-of-00003\.gguf: 1 bytes are missing") as caught:
        read_shape(paths[0])
    assert caught.value.missing_bytes == 1


def test_parts_in_each_others_places_or_of_another_model_are_refused(tmp_path: Path) -> None:
    paths = split(tmp_path)
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(BadGguf, match="it is not part 2 of 3"):
        read_shape(paths[0])
    with pytest.raises(BadGguf, match="its parts hold 4 tensors instead of 9"):
        read_shape(split(tmp_path, tensors=9)[0])


def test_a_part_under_another_name_is_refused(tmp_path: Path) -> None:
    renamed = split(tmp_path)[0].rename(tmp_path / "model.gguf")
    with pytest.raises(BadGguf, match="its name does not end in -00001-of-00003"):
        read_shape(renamed)


def test_a_whole_file_may_be_named_like_a_part(tmp_path: Path) -> None:
    path = split(tmp_path, 1)[0].rename(tmp_path / "m-00001-of-00002.gguf")
    assert read_shape(path).layers == 1


@pytest.mark.parametrize(
    "name",
    ["m.gguf", "m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-00001-of-99999.gguf", "-00001-of-00002.gguf"],
)
def test_strange_counts_are_no_parts(name: str) -> None:
    assert part_names(name) == (name,)
