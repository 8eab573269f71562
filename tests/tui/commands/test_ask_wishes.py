"""`ask` with a system prompt and sampling of its own, and `ask -c`: what the host is asked, and what the chat keeps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backends.base import ChatRequest, Message
from tests.tui.chat.conftest import kill_hosts
from tests.tui.chat.kept_chats import ASKED
from tests.tui.commands.in_process import runner
from tui.chat.asking import Asking
from tui.chat.storing.store import Store
from tui.chat.storing.stored import new_id

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Write


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ChatRequest]:
    """What the hosts are asked, in order."""
    from backends.host.client import HostClient

    asked: list[ChatRequest] = []
    chat = HostClient.chat

    def listening(client: HostClient, answer: str, request: ChatRequest, spool: int | None) -> Any:
        asked.append(request)
        return chat(client, answer, request, spool)

    monkeypatch.setattr(HostClient, "chat", listening)
    return asked


@pytest.fixture
def ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, home: Path, preset: Write
) -> Any:
    preset(keep_alive_s=20)
    run = runner(monkeypatch, capsys, tmp_path)
    yield lambda *arguments: run("ask", "-p", "echo", *arguments)
    kill_hosts(home)


def asking() -> Asking | None:
    store = Store()
    try:
        return store.conversations()[0].asking
    finally:
        store.close()


def test_what_is_asked_reaches_the_host_and_stays_with_the_chat(ask: Any, requests: list[ChatRequest]) -> None:
    ran = ask("--system", "Answer only in French.", "--temperature", "0.2", "--top-p", "0.5", "--seed", "7", "hello")
    assert (ran.status, ran.err) == (0, "")
    assert requests[0].messages == (Message("system", "Answer only in French."), Message("user", "hello"))
    sampling = requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.max_tokens) == (0.2, 0.5, 7, None)
    assert asking() == Asking("Answer only in French.", 0.2, 0.5, 7)
    assert ask("-c", "last", "and again").status == 0
    assert [message.text for message in requests[1].messages] == [
        "Answer only in French.",
        "hello",
        "hello",
        "and again",
    ]
    assert requests[1].sampling == sampling
    assert requests[1].chat, "an engine may keep the state of a chat that goes on"


def test_the_chats_commands_tell_of_it_in_json_too(ask: Any, run: Run) -> None:
    ask("--system", "Be short.", "hello")
    assert run("chats", "list", "--json").json["chats"][0]["asking"] == {"system": "Be short."}
    assert run("chats", "show", "last", "--json").json["chat"]["asking"] == {"system": "Be short."}
    assert "System prompt\nBe short.\n" in run("chats", "show", "last").out
    ask("again")
    assert run("chats", "list", "--json").json["chats"][0]["asking"] is None


def test_going_on_changes_only_what_is_said(ask: Any, requests: list[ChatRequest]) -> None:
    ask("--system", "Be short.", "--temperature", "0.2", "hello")
    ask("-c", "last", "--temperature", "", "--max-tokens", "1", "one two three")
    assert asking() == Asking("Be short.", max_tokens=1)
    assert requests[1].sampling.temperature == 0.6
    ask("-c", "last", "--system", "", "and")
    assert asking() == Asking(max_tokens=1)
    assert requests[2].messages[0] == Message("user", "hello")


def test_the_system_prompt_may_come_from_a_file(ask: Any, requests: list[ChatRequest], tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("\ufeffBe kind.\nBe short.\n", encoding="utf-8")
    assert ask("--system", "@prompt.txt", "hello").status == 0
    assert requests[0].messages[0].text == "Be kind.\nBe short."


def test_nothing_is_kept_with_no_save(ask: Any, requests: list[ChatRequest], home: Path) -> None:
    assert ask("--no-save", "--system", "A secret.", "hello").status == 0
    assert requests[0].messages[0].text == "A secret."
    assert not [path for path in home.rglob("*") if path.is_file() and b"A secret" in path.read_bytes()]
    ran = ask("--no-save", "-c", "last", "hello")
    assert (ran.status, "--no-save keeps nothing" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--temperature", "11", "--temperature: Expected a number from 0 to 10, found 11."),
        ("--temperature", "nan", "--temperature: Expected a number from 0 to 10, found nan."),
        ("--top-p", "-1", "--top-p: Expected a number from 0 to 1, found -1."),
        ("--seed", "1.5", "--seed: Expected a whole number from 0 to 4,294,967,295, found 1.5."),
        ("--max-tokens", "many", "--max-tokens: Expected a whole number from 1 to 16,777,216, found many."),
        ("--context", "1", "--context: Expected a whole number from 256 to 16,777,216, found 1."),
    ],
)
def test_a_wrong_number_is_wrong_usage_and_nothing_is_sent(
    ask: Any, requests: list[ChatRequest], option: str, value: str, told: str
) -> None:
    ran = ask(f"{option}={value}", "hello")
    assert (ran.status, ran.out, requests) == (2, "", [])
    assert told in ran.err


def test_a_system_prompt_that_cannot_be_read_is_told_and_nothing_is_sent(
    ask: Any, requests: list[ChatRequest], tmp_path: Path
) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "long").write_text("x" * 500_000)
    for name, told in (
        ("nowhere", "nowhere: No such file or directory"),
        (".", ".: Is a directory"),
        ("latin", "latin: It is not UTF-8 text: byte 4."),
        ("long", "long: It is too long: at most 100,000 characters"),
    ):
        ran = ask("--system", f"@{name}", "hello")
        assert (ran.status, ran.out, requests) == (1, "", [])
        assert "The system prompt cannot be read" in ran.err
        assert told in ran.err
    (tmp_path / "longer").write_text("é" * 100_001)
    assert "It has 100,001 characters" in ask("--system", "@longer", "hello").err
    assert not (tmp_path / "home" / "data" / "chats.sqlite3").exists() or Store().count() == 0


def test_a_context_that_the_backend_takes_is_loaded_and_of_another_it_is_told(ask: Any) -> None:
    ran = ask("--context", "1024", "hello")
    assert (ran.status, ran.err) == (0, "")
    assert asking() == Asking(context=1024)


def test_a_chat_that_is_being_answered_is_left_alone_and_one_that_is_not_there_is_told(
    ask: Any, requests: list[ChatRequest]
) -> None:
    from backends.host import spool

    assert "There is no such chat" in ask("-c", "nowhere", "hello").err
    store = Store()
    row = store.begin(new_id(), ASKED, "why?")
    descriptor = spool.create(row.id)
    ran = ask("-c", row.conversation, "and?")
    assert (ran.status, requests) == (1, [])
    assert "still being written" in ran.err
    os.close(descriptor)
    assert ask("-c", row.conversation, "and?").status == 0, "its answer was left behind, and is taken in"
    assert [message.text for message in requests[0].messages] == ["why?\n\nand?"]
    store.close()


def test_a_conversation_that_does_not_fit_is_told_where_it_can_be_helped(ask: Any) -> None:
    assert ask("word " * 3000).status == 0
    ran = ask("-c", "last", "word " * 2000)
    assert ran.status == 1
    assert "The conversation no longer fits" in ran.err
    assert "deepseek-tui -c " in ran.err


def test_the_help_tells_of_it(run: Run) -> None:
    told = run("ask", "--help").out
    assert "--system TEXT|@FILE" in told
    assert "--chat CHAT" in told
