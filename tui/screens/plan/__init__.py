"""The plan of a preset: three columns, where the bytes go, why, and what could be otherwise."""

from tui.screens.plan.screen import PlanScreen

__all__ = ["PlanScreen"]
