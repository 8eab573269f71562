"""Presets: what to run, where it comes from, how it fits. Knows backends, knows no screen."""
