"""What two files' probabilities say together: beside llama-perplexity's sums, written out plainly, and by hand."""

from __future__ import annotations

import math
import random
import statistics
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.errors import BackendError, BadModelFile
from backends.llama_cpp.quality import estimates, logprobs
from backends.quality.figures import Scores

_NLL = st.floats(0, 20)
_CHUNKS = st.integers(2, 6).flatmap(
    lambda chunks: st.integers(3, 12).flatmap(
        lambda length: st.lists(
            st.lists(st.tuples(st.floats(0, 5), _NLL, _NLL, st.booleans()), min_size=length, max_size=length),
            min_size=chunks,
            max_size=chunks,
        )
    )
)
ROUNDING = logprobs.WINDOW / 65535 / 2 * 1.02


def scores(chunks: list[list[tuple[float, float, float, bool]]]) -> list[Scores]:
    return [Scores(number, *(list(each) for each in zip(*chunk, strict=True))) for number, chunk in enumerate(chunks)]  # type: ignore[arg-type]


def by_sums(values: list[float]) -> tuple[float, float]:
    """`mean_and_uncertainty` of llama.cpp's perplexity.cpp."""
    count = len(values)
    mean = sum(values) / count
    variance = sum(value * value for value in values) / count - mean * mean
    return mean, math.sqrt(max(0.0, variance) / (count - 1))


@given(_CHUNKS)
def test_the_figures_are_those_of_llama_perplexitys_formulas(
    chunks: list[list[tuple[float, float, float, bool]]],
) -> None:
    found = estimates.figures(scores(chunks))
    flat = [one for chunk in chunks for one in chunk]
    kld, nll, base, same = ([one[place] for one in flat] for place in range(4))
    near = {"rel": 1e-6, "abs": 1e-6}
    assert (found.kld.value, found.kld.by_token) == pytest.approx(by_sums(kld), **near)
    mean, error = by_sums(nll)
    assert found.perplexity.value == pytest.approx(math.exp(mean))
    assert found.perplexity.by_token == pytest.approx(math.exp(mean) * error, rel=1e-6, abs=1e-3)
    base_mean, base_error = by_sums(base)
    products = sum(mine * other for mine, other in zip(nll, base, strict=True)) / len(flat)
    covariance = (products - mean * base_mean) / (len(flat) - 1)
    ratio_error = math.sqrt(max(0.0, error**2 + base_error**2 - 2 * covariance))
    ratio = math.exp(mean - base_mean)
    assert found.perplexity_ratio.value == pytest.approx(ratio)
    assert found.perplexity_ratio.by_token == pytest.approx(ratio * ratio_error, rel=1e-3, abs=1e-5 * ratio)
    share = sum(same) / len(same)
    assert found.same_top.value == pytest.approx(share)
    assert found.same_top.by_token == pytest.approx(math.sqrt(share * (1 - share) / (len(same) - 1)), **near)
    changes = [(math.exp(-mine) - math.exp(-other)) ** 2 for mine, other in zip(nll, base, strict=True)]
    assert found.probability_change.value == pytest.approx(math.sqrt(sum(changes) / len(changes)), **near)
    assert found.kld_max == max(kld)
    assert found.kld_99.value == pytest.approx(float(np.quantile(kld, 0.99)), **near)


def test_a_chunk_by_hand() -> None:
    found = estimates.figures(
        [
            Scores(0, [0.0, 2.0], [1.0, 1.0], [1.0, 0.0], [True, False]),
            Scores(1, [1.0, 1.0], [1.0, 1.0], [1.0, 0.0], [True, True]),
        ]
    )
    assert found.kld.value == 1.0
    assert found.kld.by_token == pytest.approx(math.sqrt(0.5 / 3))
    assert found.kld.by_chunk == 0.0  # both chunks have the same mean
    assert found.same_top.value == 0.75
    assert found.perplexity.value == pytest.approx(math.e)
    assert found.perplexity.error == 0.0
    assert found.perplexity_ratio.value == pytest.approx(math.exp(0.5))
    assert found.probability_change.value == pytest.approx(math.sqrt(((1 - 1 / math.e) ** 2) / 2))


def test_of_two_errors_the_larger_is_given() -> None:
    rng = random.Random(3)
    alike = [[rng.gauss(5, 1) for _ in range(200)] for _ in range(30)]
    apart = [[rng.gauss(middle, 1) for _ in range(200)] for middle in range(30)]
    together = estimates.mean(apart)
    assert together.by_chunk is not None
    assert together.error == together.by_chunk > 5 * together.by_token
    assert estimates.mean(alike).error == pytest.approx(1 / math.sqrt(6000), rel=0.35)


def test_an_error_says_how_far_another_text_would_be() -> None:
    """Chunks that differ by themselves: the spread of many measurements is what each of them gave as its error."""
    rng = random.Random(7)
    found = [
        estimates.mean(
            [[middle + rng.gauss(0, 1) for _ in range(50)] for middle in [rng.gauss(0, 1) for _ in range(20)]]
        )
        for _ in range(200)
    ]
    spread = statistics.stdev(one.value for one in found)
    assert statistics.mean(one.error for one in found) == pytest.approx(spread, rel=0.15)
    assert statistics.mean(one.by_token for one in found) < 0.4 * spread


def test_a_single_chunk_has_no_error_between_chunks() -> None:
    assert estimates.mean([[1.0, 2.0, 3.0]]).by_chunk is None


# The rows of the base on the disk.


def logits(rows: int, vocabulary: int, seed: int = 1, scale: float = 4.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (rows, vocabulary)).astype("f4")


def log_softmax(row: np.ndarray) -> list[float]:
    most = float(max(row))
    total = math.log(math.fsum(math.exp(float(x) - most) for x in row))
    return [float(x) - most - total for x in row]


@pytest.mark.parametrize("vocabulary", [2, 7, 294, 1001])
@pytest.mark.parametrize("scale", [0.5, 4.0, 30.0])
def test_rows_come_back_within_the_rounding(vocabulary: int, scale: float) -> None:
    given_ = logits(9, vocabulary, scale=scale)
    data = logprobs.coded(given_)
    assert len(data) == 9 * 2 * (2 * ((vocabulary + 1) // 2) + 4)
    back = logprobs.decoded(data, vocabulary)
    for row, line in zip(given_, back, strict=True):
        true = log_softmax(row)
        most = max(true)
        for value, found in zip(true, line, strict=True):
            assert found == pytest.approx(max(value, most - logprobs.WINDOW), abs=ROUNDING)


def test_a_row_is_laid_out_as_llama_perplexity_lays_it_out() -> None:
    """Its `log_softmax(n_vocab, logits, log_prob, tok)` by hand, for three tokens."""
    row = np.array([[1.0, 3.0, -40.0]], "f4")
    scale, least, *levels = struct.unpack("<ff3H2x", logprobs.coded(row))
    total = math.log(math.exp(-2) + 1 + math.exp(-43))
    assert scale == pytest.approx(16 / 65535)
    assert least == pytest.approx(-16 - total)
    assert levels == [round(14 * 65535 / 16), 65535, 0]


def test_the_same_probability_for_all_is_no_division_by_zero() -> None:
    row = np.zeros((2, 8), "f4")
    data = logprobs.coded(row)
    assert logprobs.decoded(data, 8) == pytest.approx(np.full((2, 8), -math.log(8)))
    kld, base = logprobs.divergence(row, data, [3, 4])
    assert kld == pytest.approx([0, 0], abs=1e-6)
    assert base.nll == pytest.approx([math.log(8)] * 2)


@given(st.integers(0, 1 << 30), st.integers(2, 400), st.floats(0.1, 8))
def test_the_divergence_is_the_plain_sum(seed: int, vocabulary: int, scale: float) -> None:
    base, mine = logits(3, vocabulary, seed, scale), logits(3, vocabulary, seed + 1, scale)
    targets = [seed % vocabulary] * 3
    found, chosen_by_base = logprobs.divergence(mine, logprobs.coded(base), targets)
    for place in range(3):
        p, q = log_softmax(base[place]), log_softmax(mine[place])
        plain = math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True) if a > -logprobs.WINDOW)
        # Rounding moves each log-probability and so the terms; what is below e^-16 weighs next to nothing.
        assert found[place] == pytest.approx(plain, abs=5e-4 + 2e-4 * abs(plain) + vocabulary * math.exp(-16) * 20)
        assert chosen_by_base.nll[place] == pytest.approx(min(-p[targets[0]], 16 - max(p)), abs=ROUNDING)
    mine_chosen = logprobs.chosen(mine, targets)
    assert mine_chosen.nll == pytest.approx([-log_softmax(row)[targets[0]] for row in mine], abs=1e-4)
    assert mine_chosen.top == [int(row.argmax()) for row in mine]


def test_a_base_against_itself_diverges_by_less_than_the_rounding() -> None:
    given_ = logits(64, 5000)
    found, base = logprobs.divergence(given_, logprobs.coded(given_), [0] * 64)
    assert max(map(abs, found)) < ROUNDING
    assert base.top == logprobs.chosen(given_, [0] * 64).top


def test_what_is_no_number_is_told() -> None:
    broken = logits(2, 50)
    broken[1, 7] = np.nan
    with pytest.raises(BackendError, match="no probabilities"):
        logprobs.chosen(broken, [0, 0])


def test_rows_that_are_no_probabilities_are_told() -> None:
    given_ = logits(3, 50)
    rows = logprobs.coded(given_)
    line = len(rows) // 3
    with pytest.raises(BackendError, match="probabilities are damaged"):
        logprobs.divergence(given_, rows[:line] + bytes(line) + rows[2 * line :], [0, 0, 0])


def test_a_file_of_log_probabilities_says_what_it_holds(tmp_path: Path) -> None:
    chunks, context, vocabulary = ((1, 2, 3, 4, 5, 6, 7, 0), (7, 6, 5, 4, 3, 2, 1, 0)), 8, 9
    rows = logprobs.coded(logits(2 * logprobs.scored(context), vocabulary))
    assert len(rows) == 2 * logprobs.chunk_bytes(context, vocabulary)
    path = tmp_path / "base.logits"
    path.write_bytes(logprobs.header(context, vocabulary, chunks) + rows)
    assert logprobs.is_stored(path)
    found = logprobs.read_header(path)
    assert (found.context, found.vocabulary, found.chunks) == (context, vocabulary, chunks)
    assert path.read_bytes()[found.rows_at :] == rows


@given(st.binary(max_size=200))
def test_a_damaged_file_of_log_probabilities_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(logprobs.MAGIC + data)
    with pytest.raises(BadModelFile):
        logprobs.read_header(path)


# What the functions of llama.cpp's perplexity.cpp, compiled, made of the arrays of the test below: the bytes of the
# base's four rows, and each row's divergence.
ITS_ROWS = bytes.fromhex(
    "800080395d0180c100409264248900000000ffffb73d0000800080394d0e80c12489b6ad0000ffffb73d4962db860000"
    "8000803904d880c100006ddbffffb73d4962db8692b40000e649423915174dc1ffff0000303060609c9cccccfcfc0000"
)
ITS_KLDS = [0.0021675, 0.7956116, 0.8362554, 1.0419300]


def test_what_llama_perplexity_itself_makes_of_two_models() -> None:
    number = np.arange(28).reshape(4, 7)
    base = ((number * 37 % 101) / 7 - (number % 5) * 3).astype("f4")
    mine = ((number * 53 % 97) / 9 + base / 2).astype("f4")
    targets = [0, 3, 6, 2]
    rows = logprobs.coded(base)
    # Levels to the bit; the two floats before them depend on whose exp it was.
    ours, its = (np.frombuffer(each, "<u2").reshape(4, 12) for each in (rows, ITS_ROWS))
    assert (ours[:, 4:] == its[:, 4:]).all()
    heads = [np.ascontiguousarray(each[:, :4]).view("<f4") for each in (ours, its)]
    assert heads[0] == pytest.approx(heads[1], rel=1e-6)
    kld, by_base = logprobs.divergence(mine, ITS_ROWS, targets)
    assert sorted(kld) == pytest.approx(ITS_KLDS, abs=2e-6)
    chosen = logprobs.chosen(mine, targets)
    same = [one == other for one, other in zip(chosen.top, by_base.top, strict=True)]
    found = estimates.figures([Scores(0, kld, chosen.nll, by_base.nll, same)])
    assert found.kld.value == pytest.approx(0.668991116, abs=1e-6)
    assert found.kld_99.value == pytest.approx(1.035759687, abs=2e-6)
    assert (found.same_top.value, found.same_top.by_token) == pytest.approx((0.5, 0.288675135))
    assert found.perplexity.value == pytest.approx(280.920149686, rel=1e-6)
    assert found.base_perplexity.value == pytest.approx(934.411523493, rel=1e-6)
    assert found.perplexity_ratio.value == pytest.approx(0.300638576, rel=1e-6)
    assert found.probability_change.value == pytest.approx(0.340033236, rel=1e-6)


def test_a_perplexity_beyond_all_numbers_is_told() -> None:
    with pytest.raises(BackendError, match="beyond all numbers"):
        estimates.figures([Scores(0, [800.0], [800.0], [1.0], [False])])
