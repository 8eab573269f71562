"""Formulas in LaTeX, shown as Unicode."""

from tui.widgets.transcript.latex.formula import LONGEST as LONGEST
from tui.widgets.transcript.latex.formula import Formula as Formula
from tui.widgets.transcript.latex.formula import Span as Span
from tui.widgets.transcript.latex.formula import formula as formula
