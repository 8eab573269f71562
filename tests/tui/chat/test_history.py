"""What of a branch is sent to the model, and what stands for the rest."""

from __future__ import annotations

from typing import Any

import msgspec

from backends.base import Message
from tui.chat.history import history
from tui.chat.storing.stored import StoredMessage

EMPTY = {
    field.name: None for field in msgspec.structs.fields(StoredMessage) if field.name not in {"id", "role", "text"}
}


def branch(*said: tuple[str, str, str] | tuple[str, str, str, str]) -> list[StoredMessage]:
    """Messages of (id, role, text) and perhaps the mark from where sending begins."""
    messages = []
    for number, text, role, *mark in said:
        values: dict[str, Any] = {**EMPTY, "reasoning": "a thought", "state": "done", "context_start": None}
        if mark:
            values["context_start"] = mark[0]
        messages.append(StoredMessage(**{**values, "id": number, "role": role, "text": text}))  # type: ignore[arg-type]
    return messages


def test_the_model_sees_no_thoughts_and_alternating_roles() -> None:
    sent = history(
        branch(
            ("1", "one", "user"), ("2", "", "assistant"), ("3", "two", "user"), ("4", "answer", "assistant")
        )
    )  # fmt: skip
    assert sent.messages == (Message("user", "one\n\ntwo"), Message("assistant", "answer"))
    assert sent.ids == (("1", "3"), ("4",))
    assert (sent.unsent, sent.start, sent.summary) == ((), None, "")


def test_sending_begins_at_the_last_mark_of_the_branch() -> None:
    said = branch(
        ("1", "one", "user"),
        ("2", "first answer", "assistant"),
        ("3", "two", "user", ""),
        ("4", "second answer", "assistant"),
        ("5", "three", "user", ""),
    )
    sent = history(said)
    assert sent.messages == (Message("user", "three"),)
    assert (sent.unsent, sent.start, sent.ids) == (("1", "2", "3", "4"), "5", (("5",),))
    assert len(history(said, whole=True).messages) == 5
    assert history(said[:4]).messages == (Message("user", "two"), Message("assistant", "second answer"))


def test_a_summary_goes_in_front_as_a_system_message() -> None:
    sent = history(branch(("1", "one", "user"), ("2", "a", "assistant"), ("3", "two", "user", "They spoke of one.")))
    assert sent.messages == (
        Message("system", "Summary of the conversation so far:\n\nThey spoke of one."),
        Message("user", "two"),
    )
    assert sent.ids == ((), ("3",))
    assert sent.summary == "They spoke of one."


def test_a_system_message_is_always_sent_and_is_one_with_the_summary() -> None:
    said = branch(
        ("0", "Be brief.", "system"), ("1", "one", "user"), ("2", "a", "assistant"), ("3", "two", "user", "Of one.")
    )
    sent = history(said)
    assert sent.messages == (
        Message("system", "Be brief.\n\nSummary of the conversation so far:\n\nOf one."),
        Message("user", "two"),
    )
    assert sent.unsent == ("1", "2")
    assert history([*said[:3], msgspec.structs.replace(said[3], context_start="")]).messages == (
        Message("system", "Be brief."),
        Message("user", "two"),
    )
