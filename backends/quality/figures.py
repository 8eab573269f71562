"""What was measured of one file against another, as values."""

from __future__ import annotations

import msgspec


class Scores(msgspec.Struct, frozen=True):
    """The scored tokens of one chunk, in order.

    `kld` is the divergence from the base at each, in nats; `nll` and `base_nll` are -log of the true next token's
    probability; `same` says that both would choose the same token first.
    """

    chunk: int
    kld: list[float]
    nll: list[float]
    base_nll: list[float]
    same: list[bool]


class Estimate(msgspec.Struct, frozen=True):
    """A value with its standard error: the larger of two.

    `by_token` takes the tokens for independent, as llama-perplexity does. Neighbours in a text are not: `by_chunk`
    comes from how much the chunks differ among each other, None where there is only one.
    """

    value: float
    error: float
    by_token: float
    by_chunk: float | None = None


class Figures(msgspec.Struct, frozen=True):
    """The result. Divergences are in nats, `same_top` and `probability_change` (its root mean square) shares of 1."""

    kld: Estimate
    kld_99: Estimate
    kld_max: float
    same_top: Estimate
    perplexity: Estimate
    base_perplexity: Estimate
    perplexity_ratio: Estimate
    probability_change: Estimate


class Side(msgspec.Struct, frozen=True):
    """One of the two files. `sha256` of a split model is of the hashes of its parts. 0 and "" are unknown."""

    file: str
    sha256: str
    size_bytes: int
    quantization: str = ""
    architecture: str = ""
    layers: int = 0
    hidden: int = 0


class Text(msgspec.Struct, frozen=True):
    """The text that was read; `sha256` is of the bytes that were tokenised."""

    name: str
    sha256: str


class Quality(msgspec.Struct, frozen=True):
    """One measurement, and all that it depends on. `tokens` were run by each model, `scored` of them counted.

    `whole` says that no chunk of the text was left out. `measured_at` is in seconds since 1970. `notes` are sentences
    about what the figures do not mean.
    """

    model: Side
    base: Side
    text: Text
    engine: str
    device: str
    context_tokens: int
    chunks: int
    tokens: int
    scored: int
    figures: Figures
    whole: bool = True
    measured_at: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def of_one_model(self) -> bool:
        """Say whether both are the same model, as far as their numbers tell: then the difference is quantising's."""
        mine, other = self.model, self.base
        known = bool(mine.layers and other.layers)
        return not known or (mine.architecture, mine.layers, mine.hidden) == (
            other.architecture,
            other.layers,
            other.hidden,
        )
