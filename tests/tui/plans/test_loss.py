"""What quantising has cost: claimed, published for another model, and measured here, each under its own name."""

from __future__ import annotations

import msgspec
import pytest

from backends.quality.figures import Estimate, Figures, Quality, Side, Text
from tests.tui.plans.test_told import ARTICLES, MACHINE, planned, row
from tui.chat.bill import Rates
from tui.plans import loss, otherwise, told
from tui.units import DASH

FIGURES = Figures(
    kld=Estimate(0.0821, 0.0023, 0.002, 0.0023),
    kld_99=Estimate(0.9, 0.1, 0.1),
    kld_max=3.0,
    same_top=Estimate(0.907, 0.004, 0.004),
    perplexity=Estimate(9.1, 0.2, 0.2),
    base_perplexity=Estimate(9.0, 0.2, 0.2),
    perplexity_ratio=Estimate(1.011, 0.002, 0.002),
    probability_change=Estimate(0.05, 0.001, 0.001),
)
LOSS = Quality(
    Side("Q3_K_S.gguf", "sha256:a", 14_000_000_000, "Q3_K_S", "qwen2", 64, 5120),
    Side("BF16.gguf", "sha256:b", 65_000_000_000, "BF16", "qwen2", 64, 5120),
    Text("Newton's Opticks", "sha256:c"),
    "llama-cpp-python 0.3.36",
    "CPU",
    512,
    26,
    13_312,
    6630,
    FIGURES,
)


def test_a_measured_loss_stands_beside_the_claimed_and_the_published_one() -> None:
    plan = planned(ARTICLES[2])
    claimed = row(plan, "loss")
    assert claimed.measured == DASH
    found = row(msgspec.structs.replace(plan, loss=LOSS), "loss")
    assert found.measured == "KLD 0.082 ± 0.002, same first token 91%"
    assert (found.published, found.predicted) == (claimed.published, claimed.predicted)


def test_against_what_and_on_what_it_was_measured_is_told() -> None:
    plan = msgspec.structs.replace(planned(ARTICLES[2]), loss=LOSS)
    rests = {rest.name: rest for rest in told.rests(plan, MACHINE, Rates())}
    assert rests["the measured loss"].value == "against BF16.gguf, over 6,630 tokens of Newton's Opticks"
    assert rests["the measured loss"].origin == "measured here"


def test_among_the_files_to_choose_from_the_measured_one_says_so() -> None:
    plan = planned(ARTICLES[2])
    own, *others = otherwise.choices(plan)
    assert own.loss == "0.2*"  # of another model
    measured, *same = otherwise.choices(msgspec.structs.replace(plan, loss=LOSS))
    assert measured.loss == "0.082 ± 0.002"
    assert same == others


@pytest.mark.parametrize(
    ("kld", "error", "same", "told"),
    [
        (0.1922, 0.0063, 0.7712, "KLD 0.192 ± 0.006, same first token 77%"),
        (0.0009, 0.00002, 0.9962, "KLD 0.00090 ± 0.00002, same first token 99.6%"),
        (-0.0001, 0.0001, 0.99999, "KLD below 0.001, same first token 99.9%"),
        (0.0, 0.0, 1.0, "KLD below 0.001, same first token 100%"),
        (12.34, 2.6, 0.001, "KLD 12 ± 3, same first token 0%"),
    ],
)
def test_no_figure_claims_more_than_its_error_allows(kld: float, error: float, same: float, told: str) -> None:
    figures = msgspec.structs.replace(FIGURES, kld=Estimate(kld, error, error), same_top=Estimate(same, 0.001, 0.001))
    assert loss.measured(msgspec.structs.replace(LOSS, figures=figures)) == told
