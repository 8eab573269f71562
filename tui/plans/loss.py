"""What quantising has cost, in words: as an article claims it, as others measured it, and as it was measured here."""

from __future__ import annotations

import math

from backends.quality.figures import Estimate, Quality
from presets import families
from presets.schema import Published
from tui.units import DASH
from tui.words import _, ngettext

_LEAST = 0.001
"""A smaller divergence, in nats, is shown as that: what is below it comes from rounding."""


def of_whom(published: Published | None) -> str:
    """Return what the article claims, which does not say of what."""
    if published is None or published.loss_percent is None:
        return DASH
    low, high = published.loss_percent
    return _("{low:g}–{high:g} %, of what is not said").format(low=low, high=high)


def divergence(quantization: str) -> str:
    """Return what others measured of the same quantisation of another model."""
    found = families.quality(quantization)
    return _("KLD {kld:.2g} of another model").format(kld=found.kld) if found is not None else DASH


def measured(found: Quality | None) -> str:
    """Return what was measured of this very file."""
    if found is None:
        return DASH
    kld, same = found.figures.kld, found.figures.same_top
    if abs(kld.value) < _LEAST / 2:
        return _("KLD below {least:g}, same first token {share}").format(least=_LEAST, share=_share(same.value))
    return _("KLD {kld}, same first token {share}").format(kld=with_error(kld), share=_share(same.value))


def against(found: Quality) -> str:
    """Return against what a loss was measured, and on what."""
    text = ngettext(
        "against {base}, over {count:,} token of {text}",
        "against {base}, over {count:,} tokens of {text}",
        found.scored,
    )
    return text.format(base=found.base.file, count=found.scored, text=found.text.name)


def with_error(found: Estimate) -> str:
    """Return a value and its error, both to the error's first digit."""
    digits = min(max(-math.floor(math.log10(found.error)), 0), 6) if found.error > 0 else 4
    return f"{found.value:.{digits}f} ± {found.error:.{digits}f}"


def _share(share: float) -> str:
    """Return a share in per cent; nothing but all is 100."""
    return f"{share:.0%}" if share < 0.99 or share == 1 else f"{math.floor(share * 1000) / 1000:.1%}"
