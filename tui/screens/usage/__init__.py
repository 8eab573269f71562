"""What was used and what it cost: a month of receipts, by day, preset, backend or chat."""

from tui.screens.usage.screen import UsageScreen

__all__ = ["UsageScreen"]
