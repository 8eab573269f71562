"""Measuring one model file against another: with true files, beside a plain computation, and when things go wrong."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from backends import file_hash, paths
from backends.base import Cancel
from backends.errors import BackendError, BadModelFile, ModelNotFound
from backends.llama_cpp import binding
from backends.llama_cpp.quality import estimates, evaluating, known, logprobs, passes, store, texts
from backends.llama_cpp.quality.messages import Request
from backends.quality import kept
from backends.quality.figures import Quality, Scores, Side, Text
from backends.quality.wanted import CONTEXT, Compare
from tests.backends.engine_quantiser import quantise
from tests.backends.quality_world import ROUNDING, Tiny, chunk_bytes, compare, left
from tests.backends.tiny_models import R1_SPECIAL

_Q4_0 = 2  # LLAMA_FTYPE_MOSTLY_Q4_0
CHUNKS = 1


@pytest.fixture
def requantised(few_layers_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A true model, made smaller once more by the engine's own quantiser."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    target = tmp_path / "few-layers.Q4_0.gguf"
    quantise(few_layers_gguf, target, _Q4_0)
    return target


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # threads that wait leave the cores to other tests
    return Tiny(tmp_path)


# With true models.


def full_logits(path: Path, tokens: list[int]) -> Any:
    """The logits of one chunk from its middle on, by the engine's plainest interface, as float64."""
    lib = binding.library()
    model = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = params.n_outputs_max = len(tokens)
    params.n_threads = params.n_threads_batch = 1
    context = lib.llama_init_from_model(model, params)
    batch = lib.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for place, token in enumerate(tokens):
        batch.token[place], batch.pos[place], batch.logits[place] = token, place, place >= 256
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
    assert lib.llama_decode(context, batch) == 0
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    found = np.ctypeslib.as_array(lib.llama_get_logits(context), shape=(256, vocabulary)).astype("f8")
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)
    return found


def test_the_figures_of_a_requantised_file_are_those_of_a_plain_computation(
    few_layers_gguf: Path, requantised: Path, home: Path
) -> None:
    found = compare(Compare(str(requantised), str(few_layers_gguf), chunks=CHUNKS))
    looked = passes.look(str(few_layers_gguf), texts.read("")[1], Cancel())
    klds, nlls, base_nlls, same = [], [], [], []
    for chunk in range(CHUNKS):
        tokens = looked.tokens[chunk * CONTEXT : (chunk + 1) * CONTEXT]
        p, q = (
            rows - np.log(np.exp(rows - rows.max(1, keepdims=True)).sum(1, keepdims=True)) - rows.max(1, keepdims=True)
            for rows in (full_logits(path, tokens)[:255] for path in (few_layers_gguf, requantised))
        )
        places, targets = np.arange(255), tokens[257:512]
        klds += (np.exp(p) * (p - q)).sum(1).tolist()
        base_nlls += (-p[places, targets]).tolist()
        nlls += (-q[places, targets]).tolist()
        same += (p.argmax(1) == q.argmax(1)).tolist()
    figures = found.figures
    assert found.scored == len(klds) == 255 * CHUNKS
    assert figures.kld.value == pytest.approx(np.mean(klds), rel=0.01)
    assert figures.kld_max == pytest.approx(max(klds), rel=0.02)
    assert figures.perplexity.value == pytest.approx(math.exp(np.mean(nlls)), rel=0.005)
    assert figures.base_perplexity.value == pytest.approx(math.exp(np.mean(base_nlls)), rel=0.005)
    assert figures.same_top.value == pytest.approx(np.mean(same), abs=3 / 255)
    # What four bits less exactly kept cost a small model is neither nothing nor everything.
    assert 0.001 < figures.kld.value < 0.5
    assert 0.7 < figures.same_top.value < 1
    assert (found.model.quantization, found.base.quantization) == ("Q4_0", "Q4_1")
    assert found.of_one_model
    assert found.base.sha256 == file_hash.known_digest(few_layers_gguf)
    assert left() == []
    # It is shown as measured where the file is.
    assert kept.best(requantised) == found
    assert kept.best(few_layers_gguf) is None


def test_against_a_smaller_file_nothing_of_a_files_own_loss_is_known(home: Path) -> None:
    path = home / "model.gguf"
    path.write_bytes(b"GGUF, as far as anybody asks")
    sha256 = file_hash.digest(path, lambda: [path.read_bytes()])
    against = {size: Side("base", f"sha256:{size}", size, "F16", "llama", 4, 64) for size in (4, 5)}
    kept.keep(measurement(sha256, against[4]))
    assert len(kept.recall(path)) == 1
    assert kept.best(path) is None
    kept.keep(measurement(sha256, against[5]))
    assert kept.best(path) == kept.recall(path)[0]
    # Of rows on the disk nobody knows how large the file was that they are from.
    kept.keep(measurement(sha256, Side("base.logits", "sha256:rows", 1)))
    assert kept.best(path) == kept.recall(path)[1]


def test_a_file_against_itself_loses_nothing(tiny: Tiny, home: Path) -> None:
    model = tiny("model", noise=0.0)
    quality = compare(Compare(str(model), str(model), chunks=2))
    found = quality.figures
    assert abs(found.kld.value) < ROUNDING
    assert found.kld_max < ROUNDING
    assert found.same_top.value == 1
    assert (found.perplexity_ratio.value, found.perplexity_ratio.error) == (1, 0)
    assert found.perplexity == found.base_perplexity
    assert found.perplexity.value > 2 * len(passes.look(str(model), "", Cancel()).names)  # it is sure, and wrong
    assert found.probability_change.value == 0
    assert "the same file" in quality.notes[0]


def test_the_more_a_file_differs_the_more_it_has_lost(tiny: Tiny, home: Path) -> None:
    base = tiny("base", noise=0.0)
    found = [
        compare(Compare(str(tiny(f"with {noise}", noise=noise)), str(base), chunks=1)).figures for noise in (0.02, 0.2)
    ]
    little, much = (one.kld.value for one in found)
    assert 5 * ROUNDING < little < much / 10
    assert found[0].same_top.value > found[1].same_top.value
    assert found[0].probability_change.value < found[1].probability_change.value


def test_chunks_side_by_side_give_what_they_give_one_by_one(tiny: Tiny, home: Path) -> None:
    """A base that streams from the disk runs several chunks for each reading of its weights."""
    path = tiny("model", noise=0.0)
    tokens = passes.look(str(path), texts.read("")[1], Cancel()).tokens
    chunks = [tokens[place * CONTEXT : (place + 1) * CONTEXT] for place in range(5)]

    def scored(sequences: int) -> dict[int, list[float]]:
        nll: dict[int, list[float]] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluating, "_SEQUENCES", dict.fromkeys(("memory", "card", "disk"), sequences))
            with evaluating.opened(binding.library(), path, CONTEXT, lambda _: None) as model:
                assert model.sequences == sequences
                for chunk, place, rows in evaluating.logits_of(model, chunks, CONTEXT):
                    targets = chunks[chunk][257 + place : 257 + place + len(rows)]
                    nll.setdefault(chunk, []).extend(logprobs.chosen(rows, targets).nll)
        return nll

    one_by_one, together = scored(1), scored(2)
    assert sorted(together) == [0, 1, 2, 3, 4]
    for chunk, nll in one_by_one.items():
        assert len(nll) == 255
        assert together[chunk] == pytest.approx(nll, abs=1e-3)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(tiny: Tiny, home: Path) -> None:
    model, base = tiny("model"), tiny("base")
    found = compare(Compare(str(model), str(base), chunks=3))
    looked = passes.look(str(model), "", Cancel())
    assert found.figures.perplexity.value == pytest.approx(len(looked.names), rel=1e-4)
    assert abs(found.figures.kld.value) < ROUNDING
    assert (found.chunks, found.tokens, found.scored, found.whole) == (3, 3 * 512, 3 * 255, False)
    assert found.text.name == "Newton's Opticks"


def test_the_shipped_text_is_long_enough_for_everybody(starter_gguf: Path, home: Path) -> None:
    text, content = texts.read("")
    assert len(content.encode()) > 100_000
    looked = passes.look(str(starter_gguf), content, Cancel())
    assert len(looked.tokens) // CONTEXT >= 50
    assert text.sha256.startswith("sha256:")


def test_a_text_of_the_users_own(tiny: Tiny, tmp_path: Path, home: Path) -> None:
    text = tmp_path / "thoughts.txt"
    text.write_text("So, hello world. " * 200)
    found = compare(Compare(str(tiny("model")), str(tiny("base")), str(text)))
    assert (found.text.name, found.whole) == ("thoughts.txt", True)
    text.write_text("So, hello world! " * 200)
    assert known.matching(Compare(str(tmp_path / "model.gguf"), str(tmp_path / "base.gguf"), str(text))) is None


# The disk.


def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of every file of rows when it is thrown away."""
    sizes: list[int] = []
    nameless = store.nameless

    @contextmanager
    def watched() -> Iterator[int]:
        with nameless() as rows:
            assert [name for name in left() if not name.endswith(".scores")] == []  # it has no name
            yield rows
            sizes.append(os.fstat(rows).st_size)

    monkeypatch.setattr(store, "nameless", watched)
    return sizes


def test_the_disk_holds_no_more_than_it_may(tiny: Tiny, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = groups(monkeypatch)
    model, base = tiny("model"), tiny("base")
    chunk = chunk_bytes(base)
    compare(Compare(str(model), str(base), chunks=3, disk_bytes=2 * chunk + 100))
    assert sizes == [2 * chunk, chunk]
    with pytest.raises(BackendError, match="more disk than is allowed") as raised:
        compare(Compare(str(tiny("other")), str(base), chunks=2, disk_bytes=chunk - 1))
    assert "--disk" in raised.value.hint


def test_a_full_disk_is_told_before_anything_runs(tiny: Tiny, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "STAYS_FREE_BYTES", 1 << 60)
    with pytest.raises(BackendError, match="too little space"):
        compare(Compare(str(tiny("model")), str(tiny("base")), chunks=2))


def test_kept_probabilities_serve_the_next_file(tiny: Tiny, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny("base")
    compare(Compare(str(tiny("first")), str(base), chunks=2, keep=True))
    (rows,) = left()
    assert rows.endswith(".logits")
    asked: list[str] = []
    listen = passes.listen

    def watched(request: Request, cancel: Cancel) -> Any:
        asked.append(request.action)
        return listen(request, cancel)

    monkeypatch.setattr(passes, "listen", watched)
    compare(Compare(str(tiny("second")), str(base), chunks=2))
    assert asked == ["look", "look", "compare"]
    # The file itself is a base too, as one of llama-perplexity's would be.
    found = compare(Compare(str(tiny("third")), str(paths.cache() / "quality" / rows)))
    assert found.chunks == 2
    assert found.scored == 510
    assert found.notes == ()


def test_what_the_rows_of_a_base_cannot_tell_is_noted(tiny: Tiny, home: Path) -> None:
    """A base that is sure, and wrong: what it gives the true token is beyond what its rows can hold."""
    base, model = tiny("base", noise=4.0), tiny("model", noise=4.01)
    whole = compare(Compare(str(model), str(base), chunks=1, keep=True))
    rows = known.rows_of(whole)
    assert rows is not None
    assert whole.notes == ()
    cut = compare(Compare(str(model), str(rows)))
    assert cut.figures.base_perplexity.value < whole.figures.base_perplexity.value
    assert "less than its file can tell" in cut.notes[0]
    assert cut.figures.kld == whole.figures.kld


def test_all_that_is_to_be_kept_has_to_be_allowed(tiny: Tiny, home: Path) -> None:
    base = tiny("base")
    chunk = chunk_bytes(base)
    with pytest.raises(BackendError, match="more disk than is allowed") as raised:
        compare(Compare(str(tiny("model")), str(base), chunks=3, keep=True, disk_bytes=2 * chunk))
    assert "--chunks 2" in raised.value.hint
    assert left() == []


# What cannot be measured.


def test_another_vocabulary_is_told_before_anything_runs(starter_gguf: Path, tiny: Tiny, home: Path) -> None:
    with pytest.raises(BackendError, match="same vocabulary") as raised:
        compare(Compare(str(tiny("model")), str(starter_gguf), chunks=2))
    assert "49,152" in raised.value.detail
    assert not (paths.cache() / "quality").exists()


def test_tokens_of_other_names_are_noted(tiny: Tiny, home: Path) -> None:
    names = {f"<|other {number}|>": kind for number, kind in enumerate(R1_SPECIAL.values())}
    found = compare(Compare(str(tiny("model", special=names)), str(tiny("base")), chunks=2))
    assert f"{len(names)} of " in found.notes[0]


def test_a_text_that_is_too_short_is_told(tiny: Tiny, tmp_path: Path, home: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("hello world " * 20)
    with pytest.raises(BackendError, match="too short") as raised:
        compare(Compare(str(tiny("model")), str(tiny("base")), str(text)))
    assert "1,024 are needed" in raised.value.detail


@pytest.mark.parametrize(("content", "what"), [(b"\xff\xfe\x00", "UTF-8"), (b"a\0b", "zero bytes")])
def test_what_is_no_text_is_told(content: bytes, what: str, tiny: Tiny, tmp_path: Path, home: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(content)
    with pytest.raises(BackendError, match="no plain text") as raised:
        compare(Compare(str(tiny("model")), str(tiny("base")), str(text)))
    assert what in raised.value.detail


def test_a_file_that_is_not_there_is_told(tiny: Tiny, tmp_path: Path, home: Path) -> None:
    model = tiny("model")
    with pytest.raises(ModelNotFound):
        compare(Compare(str(model), str(tmp_path / "none.gguf")))
    with pytest.raises(ModelNotFound, match="text is not there"):
        compare(Compare(str(model), str(model), str(tmp_path / "none.txt")))


def test_a_file_that_changes_meanwhile_is_told(tiny: Tiny, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, base = tiny("model"), tiny("base")
    listen = passes.listen

    def written_to(request: Request, cancel: Cancel) -> Any:
        yield from listen(request, cancel)
        if request.action == "base":
            os.utime(base, ns=(0, 0))

    monkeypatch.setattr(passes, "listen", written_to)
    with pytest.raises(BadModelFile, match="changed while it was measured"):
        compare(Compare(str(model), str(base), chunks=2))


# What is kept.


def test_only_a_measurement_of_the_same_files_and_engine_is_shown_again(tiny: Tiny, home: Path) -> None:
    model, base = tiny("model"), tiny("base")
    wanted = Compare(str(model), str(base), chunks=2)
    found = compare(wanted)
    assert known.matching(wanted) == found
    assert known.matching(msgspec.structs.replace(wanted, chunks=3)) is None
    assert known.matching(Compare(str(base), str(model), chunks=2)) is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "engine", lambda: "another engine")
        assert known.matching(wanted) is None
    os.utime(model, ns=(0, 0))
    assert known.matching(wanted) is None


def test_of_several_measurements_the_one_against_the_largest_file_of_the_same_model_counts(home: Path) -> None:
    path = home / "model.gguf"
    path.write_bytes(b"GGUF, as far as anybody asks")
    sha256 = file_hash.digest(path, lambda: [path.read_bytes()])
    small, large, other = (
        measurement(sha256, Side(name, f"sha256:{name}", size, "F16", "llama", layers, 64))
        for name, size, layers in (("small", 10, 4), ("large", 20, 4), ("another model", 30, 8))
    )
    for one in (large, small, other):
        kept.keep(one)
    assert kept.recall(path) == (other, small, large)
    assert kept.best(path) == large
    kept.keep(msgspec.structs.replace(small, chunks=9, scored=9 * 255))
    assert [one.chunks for one in kept.recall(path)] == [9, 2, 2]  # in place of the earlier one
    kept.keep(msgspec.structs.replace(large, chunks=1, scored=255))
    assert kept.best(path) == large  # less of the text takes nothing away from what was measured
    path.write_bytes(b"GGUF, but another")
    assert kept.best(path) is None


def measurement(sha256: str, base: Side) -> Quality:
    figures = estimates.figures([Scores(0, [0.1, 0.2], [1.0, 2.0], [1.0, 1.5], [True, False])])
    model = Side("model.gguf", sha256, 5, "Q3_K_S", "llama", 4, 64)
    return Quality(model, base, Text("a text", "sha256:text"), "an engine", "CPU", 512, 2, 1024, 510, figures)
