"""The keys of the transcript: moving, standing on a message, and what is done with it."""

from __future__ import annotations

from typing import Literal

from textual.binding import Binding, BindingType

Copy = Literal["copy_message", "copy_code", "copy_all"]
"""What of a chat is copied."""
Work = Literal["edit", "retry", "delete", "export", "undo", "before", "after", Copy]
"""What is asked for of a message; "before" and "after" are its versions."""

BINDINGS: list[BindingType] = [
    Binding("up,k", "line(-1)", "Line up", show=False, id="transcript.line_up"),
    Binding("down,j", "line(1)", "Line down", show=False, id="transcript.line_down"),
    Binding("pageup", "page(-1)", "Page up", show=False, id="transcript.page_up"),
    Binding("pagedown", "page(1)", "Page down", show=False, id="transcript.page_down"),
    Binding("home", "go(0)", "To the beginning", show=False, id="transcript.home"),
    Binding("end", "end", "To the end", show=False, id="transcript.end"),
    Binding("left_square_bracket,p", "step(-1)", "To the message before", show=False, id="transcript.previous"),
    Binding("right_square_bracket,n", "step(1)", "To the next message", show=False, id="transcript.next"),
    Binding("t", "toggle_thought", "Unfold or fold the thought", show=False, id="transcript.thought"),
    Binding("e", "work('edit')", "Edit the question", show=False, id="transcript.edit"),
    Binding("r", "work('retry')", "Answer once more", show=False, id="transcript.retry"),
    Binding("left", "work('before')", "The version before", show=False, id="transcript.before"),
    Binding("right", "work('after')", "The version after", show=False, id="transcript.after"),
    Binding("d", "work('delete')", "Delete the message", show=False, id="transcript.delete"),
    Binding("u", "work('undo')", "Take back what was deleted", show=False, id="transcript.undo"),
    Binding("x", "work('export')", "Export the chat", show=False, id="transcript.export"),
    Binding("c", "work('copy_message')", "Copy the message", show=False, id="transcript.copy_message"),
    Binding("C", "work('copy_code')", "Copy its code, block by block", show=False, id="transcript.copy_code"),
    Binding("Y", "work('copy_all')", "Copy the whole chat", show=False, id="transcript.copy_all"),
]
