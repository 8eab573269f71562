"""The `/` commands: all that keys can do has one, and nothing that is a message is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.chat import slash
from tui.chat.slash import COMMANDS, Call, Unknown
from tui.keys.table import KEYS, PLACES

WITHOUT = {
    "copy.selection", "move.next", "move.previous", "composer.send", "composer.newline", "composer.older",
    "composer.newer", "composer.complete", "composer.page_up", "composer.page_down", "composer.end",
    "messages.previous", "messages.next", "messages.thought", "messages.retry", "chats.undo",
}  # fmt: skip
"""Keys that move or write, and those whose command does it already for the chat."""
MOVES = ("line_", "page_", "home", "end")


@pytest.mark.parametrize("place", ["everywhere", "composer", "messages", "chats", "presets"])
def test_all_that_keys_can_do_has_a_command(place: str) -> None:
    has = {command.does for command in COMMANDS} | WITHOUT
    has |= {"chats.open", "presets.choose"}  # by /chat and /preset
    missing = {
        name
        for name in KEYS
        if PLACES[name] == place
        and name not in has
        and not name.partition(".")[2].startswith(MOVES)
        and not name.removeprefix("preset.").isdecimal()
    }
    assert missing == set()


def test_each_command_is_there_once_and_says_what_it_does() -> None:
    assert len(slash.BY_NAME) == len(COMMANDS)
    assert all(command.help or KEYS[command.does].help for command in COMMANDS)


@pytest.mark.parametrize(
    "text",
    ["/etc/fstab says", "/etc/fstab", "/ a lone slash", "/", "/srv/x/y.py fails", "/new\nline", "/usr2 is full",
     "hi /new", "/2 of them", "/a.out crashes", "", "/über alles"],
)  # fmt: skip
def test_a_message_that_only_begins_like_one_is_a_message(text: str) -> None:
    assert slash.read(text) == text


def test_two_slashes_are_one_that_is_meant() -> None:
    assert slash.read("//new things") == "/new things"
    assert slash.read("  //new") == "  /new"
    assert slash.read("//") == "/"


def test_commands_are_read_with_what_stands_after_them() -> None:
    assert slash.read("/new ") == Call(slash.BY_NAME["new"], "")
    assert slash.read("/PRESET  14b-q3 ") == Call(slash.BY_NAME["preset"], "14b-q3")
    assert slash.read("/chat why is it") == Call(slash.BY_NAME["chat"], "why is it")


def test_an_unknown_one_and_one_with_too_much_are_not_sent_and_the_nearest_is_named() -> None:
    assert slash.read("/exprot") == Unknown("exprot", ("export",))
    assert slash.read("/tmp is full") == Unknown("tmp")
    assert slash.read("/new york is big") == Unknown("new")


@given(st.text())
def test_whatever_is_typed_it_is_one_of_the_three(text: str) -> None:
    read = slash.read(text)
    if isinstance(read, str):
        assert read in (text, text.replace("//", "/", 1))


def test_offers_are_what_a_beginning_can_become() -> None:
    presets, chats = ["8b-q4", "14b-q3", "1.5b"], ["Why is the sky blue", "Semver regex"]
    assert slash.offers("/ex", presets, chats) == ["/export"]
    assert slash.offers("/preset", presets, chats) == ["/preset "]
    assert slash.offers("/preset ", presets, chats) == ["/preset 8b-q4", "/preset 14b-q3", "/preset 1.5b"]
    assert slash.offers("/preset q3", presets, chats) == ["/preset 14b-q3"]
    assert slash.offers("/chat SKY why", presets, chats) == ["/chat Why is the sky blue"]
    assert slash.offers("//", presets, chats) == slash.offers("text", presets, chats) == []
    assert slash.offers("/new x", presets, chats) == []
    assert len(slash.offers("/", presets, chats)) == len(COMMANDS)


@given(st.text())
def test_what_is_offered_is_a_command(text: str) -> None:
    for offer in slash.offers(text, ["a b", "c"], ["title"]):
        read = slash.read(offer)
        assert isinstance(read, Call)
