"""From the scores of every token to figures with errors: the formulas of llama.cpp's tools/perplexity/perplexity.cpp.

There an error is sqrt((E[x²] - E[x]²) / (n - 1)) over n tokens. Here the error between the chunks stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from backends.errors import BackendError
from backends.quality.figures import Estimate, Figures, Scores

_TAIL = 0.99


def figures(chunks: Sequence[Scores]) -> Figures:
    """Return what the scores of at least one chunk, all of the same length, say together.

    Raises BackendError for a perplexity that no number can hold.
    """

    def mean_of(value: Callable[[Scores], Sequence[float]]) -> Estimate:
        return mean([value(chunk) for chunk in chunks])

    kld = [value for chunk in chunks for value in chunk.kld]
    squares = mean_of(lambda one: [_change(mine, base) ** 2 for mine, base in zip(one.nll, one.base_nll, strict=True)])
    root = math.sqrt(squares.value)
    return Figures(
        kld=mean_of(lambda one: one.kld),
        kld_99=quantile(kld, _TAIL),
        kld_max=max(kld),
        same_top=mean_of(lambda one: [float(same) for same in one.same]),
        perplexity=_exp(mean_of(lambda one: one.nll)),
        base_perplexity=_exp(mean_of(lambda one: one.base_nll)),
        # The variance of a difference is what they write as a sum of two variances less twice the covariance.
        perplexity_ratio=_exp(
            mean_of(lambda one: [mine - base for mine, base in zip(one.nll, one.base_nll, strict=True)])
        ),
        probability_change=_scaled(squares, root, 0.5 / root if root else 0.0),
    )


def mean(chunks: Sequence[Sequence[float]]) -> Estimate:
    """Return the mean of all values, with both errors."""
    values = [value for chunk in chunks for value in chunk]
    middle = math.fsum(values) / len(values)
    by_token = _error(values, middle)
    means = [math.fsum(chunk) / len(chunk) for chunk in chunks]
    by_chunk = _error(means, math.fsum(means) / len(means)) if len(means) > 1 else None
    return Estimate(middle, max(by_token, by_chunk or 0.0), by_token, by_chunk)


def quantile(values: Sequence[float], share: float) -> Estimate:
    """Return a quantile between the two nearest values. Its error is half of what lies within one of its rank's."""
    ordered = sorted(values)
    rank = share * (len(ordered) - 1)
    width = math.sqrt(len(ordered) * share * (1 - share))
    error = (_at(ordered, rank + width) - _at(ordered, rank - width)) / 2
    return Estimate(_at(ordered, rank), error, error)


def _at(ordered: Sequence[float], rank: float) -> float:
    rank = min(max(rank, 0.0), len(ordered) - 1.0)
    below = int(rank)
    part = rank - below
    return (1 - part) * ordered[below] + part * ordered[min(below + 1, len(ordered) - 1)]


def _error(values: Sequence[float], middle: float) -> float:
    if len(values) < 2:
        return 0.0
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / len(values) / (len(values) - 1))


def _change(nll: float, base_nll: float) -> float:
    return math.exp(-nll) - math.exp(-base_nll)


def _exp(log: Estimate) -> Estimate:
    try:
        value = math.exp(log.value)
    except OverflowError:
        raise BackendError(
            "The perplexity is beyond all numbers",
            f"One of the files gives the true tokens e^-{log.value:,.0f} of a chance: it may be damaged.",
            "Fetch or build the file again.",
        ) from None
    return _scaled(log, value, value)


def _scaled(of: Estimate, value: float, slope: float) -> Estimate:
    """Return a function's value for an estimate, its errors multiplied by its slope there."""
    by_chunk = None if of.by_chunk is None else slope * of.by_chunk
    return Estimate(value, slope * of.error, slope * of.by_token, by_chunk)
