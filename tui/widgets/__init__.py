"""Textual widgets: what the screens are made of."""
