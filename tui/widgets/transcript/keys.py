"""What the keys of the transcript ask for."""

from __future__ import annotations

from typing import Literal

Copy = Literal["copy_message", "copy_code", "copy_all"]
"""What of a chat is copied."""
Work = Literal["edit", "retry", "delete", "export", "undo", "before", "after", Copy]
"""What is asked for of a message; "before" and "after" are its versions."""
