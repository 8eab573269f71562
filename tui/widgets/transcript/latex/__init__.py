"""Formulas in LaTeX, shown as Unicode. What shows them is loaded when the first one is met."""

from typing import Final

LONGEST: Final = 2_000
"""Characters of a formula that is shown as one; of a longer one, the source is."""
