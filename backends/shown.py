"""Text of any origin as one harmless line of a message."""

from __future__ import annotations

from pathlib import Path


def printable(text: str, limit: int = 120) -> str:
    """Return hostile text as one short line for a message: control and direction characters become escapes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return shown + ("…" if len(text) > limit else "")


def size(amount: int | float) -> str:
    """Return bytes as people read them, decimal: 2.9 GB, or 45 MB below one."""
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"


def shown_path(file: Path) -> str:
    """Return a path for a message, the home folder as ~."""
    try:
        return "~/" + printable(str(file.relative_to(Path.home())), 4096)
    except (ValueError, RuntimeError):
        return printable(str(file), 4096)
