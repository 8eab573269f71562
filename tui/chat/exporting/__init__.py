"""Conversations going out: as Markdown, text, and JSON that can come in again."""
