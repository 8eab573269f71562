"""Quantising with the engine's own quantiser: the result is what was planned, and the source is only read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from backends.errors import BadOptions
from backends.gguf.files import read_headers, read_shape
from backends.gguf.mixes import Mix
from backends.gguf.shape import RECIPE_KEY
from backends.jobs import launch
from backends.llama_cpp.quantizing.failures import AlreadyQuantized, TargetExists
from backends.llama_cpp.quantizing.preview import preview
from backends.llama_cpp.quantizing.wanted import job_of
from tests.backends.quantizing_world import MIXED, SMALL, Quantizer, split, write_matrix, write_small
from tests.backends.watching import ended
from tests.gguf_files import Model

# Rows of 288 weights are no multiple of 256, the block of most types.
ODD = Model("odd rows", "llama", 2, 288, 576, 3, 3, 512, merges=100, head=96)


@pytest.fixture
def quantizer(tmp_path: Path, home: Path) -> Quantizer:
    quantizer = Quantizer(tmp_path)
    write_small(quantizer.source)
    return quantizer


def test_the_result_is_what_was_planned_to_the_byte(quantizer: Quantizer) -> None:
    planned = preview(quantizer.wanted(), measure=False)
    assert planned.objections == ()
    assert quantizer.quantize() == quantizer.target
    assert quantizer.target.stat().st_size == planned.size_bytes
    assert quantizer.types() == {choice.name: choice.after for choice in planned.choices}
    assert quantizer.types()["blk.1.ffn_up.weight"] == "q4_K"
    assert quantizer.types()["blk.2.ffn_up.weight"] == "q3_K"
    assert quantizer.types()["output.weight"] == "q6_K"
    assert quantizer.left == ["model.gguf"]


def test_the_result_says_by_which_recipe_it_was_made(quantizer: Quantizer) -> None:
    quantizer.quantize()
    (header,) = read_headers(quantizer.target).values()
    name, _, digits = header.text(RECIPE_KEY).partition(" ")
    assert name == "half-and-half"
    assert len(bytes.fromhex(digits)) == 6
    assert read_shape(quantizer.target).quantization == "half-and-half"


def test_a_long_name_of_a_recipe_is_cut_and_its_content_still_told(quantizer: Quantizer) -> None:
    quantizer.quantize(mix=msgspec.structs.replace(MIXED, name="ä" * 100))
    (header,) = read_headers(quantizer.target).values()
    assert header.text(RECIPE_KEY).startswith("ä" * 50)
    assert len(bytes.fromhex(header.text(RECIPE_KEY).split(" ")[1])) == 6


def test_the_source_is_not_touched(quantizer: Quantizer) -> None:
    before, status = digest(quantizer.source), quantizer.source.stat()
    quantizer.quantize()
    after = quantizer.source.stat()
    assert digest(quantizer.source) == before
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (status.st_mtime_ns, status.st_size, status.st_ino)


def test_every_tensor_is_told_of_and_every_byte_is_counted(quantizer: Quantizer) -> None:
    quantizer.quantize()
    tensors = len(quantizer.types())
    told = [note for stage, note in zip(quantizer.stages, quantizer.notes, strict=True) if stage == "quantizing"]
    assert len(told) == tensors
    assert told[0].endswith(f" 1 of {tensors}")
    assert told[-1] == f"blk.3.ffn_up {tensors} of {tensors}"
    assert list(dict.fromkeys(quantizer.stages)) == ["checking", "quantizing", "finishing", "done"]
    assert quantizer.done == sorted(quantizer.done)
    (header,) = read_headers(quantizer.source).values()
    total = sum(tensor.size or 0 for tensor in header.tensors)
    assert quantizer.progress.total_bytes == total
    assert quantizer.done[-1] == total


def test_it_is_a_job_like_any_other(quantizer: Quantizer) -> None:
    spec = job_of(quantizer.wanted())
    assert spec.title == "model.gguf (half-and-half)"
    view = launch.start(spec)
    last = ended(view.key)
    assert (last.state, last.progress.error) == ("done", None)
    assert last.progress.result == str(quantizer.target)
    assert quantizer.left == ["model.gguf"]


def test_two_jobs_with_one_target_are_one_by_whatever_way_it_is_named(quantizer: Quantizer, tmp_path: Path) -> None:
    quantizer.target.parent.mkdir()
    (tmp_path / "link").symlink_to(quantizer.target.parent)
    other = quantizer.wanted(target=str(tmp_path / "link/../link/model.gguf"))
    one, two = launch.start(job_of(quantizer.wanted())), launch.start(job_of(other))
    assert one.key == two.key
    assert len(launch.survey()) == 1
    assert ended(one.key).state == "done"


def test_a_path_that_is_no_text_is_refused_before_a_job_is_begun(quantizer: Quantizer) -> None:
    with pytest.raises(BadOptions, match=r"model\\udcff.* is not UTF-8"):
        job_of(quantizer.wanted(target="/tmp/model\udcff.gguf"))


def test_the_parts_of_a_split_source_become_one_file(quantizer: Quantizer) -> None:
    quantizer.quantize()
    whole = quantizer.types()
    quantizer.target.unlink()
    parts = split(quantizer.source)
    for named in parts:
        assert quantizer.quantize(source=str(named)) == quantizer.target
        assert quantizer.types() == whole
        (header,) = read_headers(quantizer.target).values()
        assert not any(key.startswith("split.") for key in header.metadata)
        planned = preview(quantizer.wanted(source=str(named)), measure=False)
        assert planned.size_bytes == quantizer.target.stat().st_size
        quantizer.target.unlink()


def test_rows_that_cannot_take_a_type_get_another_which_is_listed_before(quantizer: Quantizer) -> None:
    write_small(quantizer.source, ODD)
    planned = preview(quantizer.wanted(), measure=False)
    fallen = {choice.name: (choice.wanted, choice.after) for choice in planned.choices if choice.why == "fallback"}
    assert fallen["blk.0.ffn_down.weight"] == ("q4_K", "q5_0")
    assert fallen["output.weight"] == ("q6_K", "q8_0")
    quantizer.quantize()
    assert quantizer.types() == {choice.name: choice.after for choice in planned.choices}


def test_a_source_that_is_quantised_already_is_refused_until_the_loss_is_allowed(quantizer: Quantizer) -> None:
    quantizer.quantize()
    again = {"source": str(quantizer.target), "target": str(quantizer.folder / "out/again.gguf")}
    mix = Mix("small", "", "Q2_K", ())
    with pytest.raises(AlreadyQuantized, match=r"tensors are .*q3_K") as caught:
        quantizer.quantize(**again, mix=mix)
    assert "--requantize" in caught.value.hint
    assert quantizer.left == ["model.gguf"]
    quantizer.quantize(**again, mix=mix, requantize=True)
    assert quantizer.left == ["again.gguf", "model.gguf"]


def test_what_has_its_type_already_is_copied_and_no_loss(quantizer: Quantizer) -> None:
    quantizer.quantize()
    copy = quantizer.folder / "out/copy.gguf"
    quantizer.quantize(source=str(quantizer.target), target=str(copy))
    assert copy.read_bytes() == quantizer.target.read_bytes()


def test_a_target_that_is_there_is_refused(quantizer: Quantizer) -> None:
    quantizer.target.parent.mkdir()
    quantizer.target.write_text("mine")
    with pytest.raises(TargetExists, match="there already"):
        quantizer.quantize()
    assert quantizer.target.read_text() == "mine"
    assert quantizer.left == ["model.gguf"]


def test_a_target_that_may_be_replaced_stays_until_the_new_one_is_whole(quantizer: Quantizer) -> None:
    quantizer.target.parent.mkdir()
    quantizer.target.write_text("the old one")
    seen = []

    def look(stage: str, _note: str) -> None:
        seen.append((stage, quantizer.target.read_bytes()[:11]))

    quantizer.meanwhile = look
    quantizer.quantize(replace=True)
    assert {start for stage, start in seen if stage in {"quantizing", "finishing"}} == {b"the old one"}
    assert seen[-1][0] == "done"
    assert seen[-1][1].startswith(b"GGUF")
    assert quantizer.left == ["model.gguf"]


def test_what_an_earlier_try_has_left_is_written_over(quantizer: Quantizer) -> None:
    quantizer.target.parent.mkdir()
    (quantizer.target.parent / "model.gguf.part").write_bytes(os.urandom(30_000_000))
    quantizer.quantize()
    assert quantizer.left == ["model.gguf"]
    assert quantizer.target.stat().st_size == preview(quantizer.wanted(), measure=False).size_bytes


def test_an_importance_matrix_decides_about_the_weights_and_not_about_their_types(quantizer: Quantizer) -> None:
    quantizer.quantize()
    plain, types = digest(quantizer.target), quantizer.types()
    quantizer.target.unlink()
    matrix = write_matrix(
        quantizer.folder / "model.imatrix", {"blk.2.ffn_up.weight": 256, "blk.3.ffn_down.weight": 512}
    )
    unweighed = preview(quantizer.wanted(importance=str(matrix)), measure=False).unweighed
    assert "blk.2.attn_q.weight" in unweighed
    assert "blk.2.ffn_up.weight" not in unweighed
    quantizer.quantize(importance=str(matrix))
    assert quantizer.types() == types
    assert digest(quantizer.target) != plain


def test_a_preview_says_how_long_it_will_take(quantizer: Quantizer) -> None:
    found = preview(quantizer.wanted())
    assert found.estimate.problem == ""
    assert found.estimate.compute_s is not None
    assert 0.001 < found.estimate.compute_s < 20
    assert found.estimate.seconds == max(found.estimate.compute_s, found.estimate.read_s or 0)  # it reads meanwhile
    assert 3 < found.bits_per_weight < 5
    assert found.needed_bytes > found.size_bytes
    assert found.shape.quantization == "half-and-half"
    assert found.shape.layers == SMALL.layers


def test_a_preview_of_a_model_whose_weights_are_quantised_measures_too(quantizer: Quantizer) -> None:
    quantizer.quantize()
    source = str(quantizer.target.rename(quantizer.target.with_name("first.gguf")))
    quantizer.target.write_text("mine")
    found = preview(quantizer.wanted(source=source, mix=Mix("small", "", "Q2_K", ())))
    assert found.estimate.compute_s
    assert [type(one) for one in found.objections] == [TargetExists, AlreadyQuantized]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
