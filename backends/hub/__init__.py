"""Hugging Face, or a mirror of it: what a file there is, without fetching it whole."""
