"""The transcript: the whole conversation as one line-rendering widget."""

from tui.widgets.transcript.model import Entry
from tui.widgets.transcript.widget import Transcript

__all__ = ["Entry", "Transcript"]
