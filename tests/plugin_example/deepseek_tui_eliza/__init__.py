"""ELIZA as a backend for deepseek-tui: an example of a plug-in, small and complete."""

from deepseek_tui_eliza.backend import ElizaBackend

__all__ = ["ElizaBackend"]
