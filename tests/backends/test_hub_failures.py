"""What goes wrong between us and Hugging Face: each failure typed, in time, and with what to do about it."""

from __future__ import annotations

import email.utils
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Cancel, Cancelled
from backends.errors import (
    BackendError,
    ModelNotFound,
    RateLimited,
    ServerError,
    ServerUnreachable,
    Unauthorized,
)
from backends.hub.address import HubFile
from backends.hub.failures import retry_after_s
from backends.hub.header import fetch_header, kept_header
from tests.backends.fake_hub import FakeHub, HubHandler, go_online
from tests.backends.raw_server import Line, RawServer, Script
from tests.gguf_files import QWEN_1_5B, sparse_model

ONE = HubFile("me", "some", "one.gguf")
SIZE = 5_000_000
ASKED = 262_144


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], RawServer]:
    """Make the endpoint a server that says what the test wants."""

    def serve(script: Script) -> RawServer:
        server = RawServer(script)
        go_online(monkeypatch, server.url)
        return server

    return serve


def part(extra: str = "", place: str = f"bytes 0-{ASKED - 1}/{SIZE}", length: int | None = ASKED) -> bytes:
    told = "" if length is None else f"content-length: {length}\r\n"
    return f"HTTP/1.1 206 Part\r\ncontent-range: {place}\r\n{told}{extra}\r\n".encode()


@pytest.mark.parametrize(
    ("status", "headers", "kind", "title", "hint"),
    [
        (401, {"X_Error_Code": "RepoNotFound"}, ModelNotFound, "shows no repository me/some", "hf auth login"),
        (401, {}, ModelNotFound, "shows no repository me/some", "Check the name"),
        (404, {"X_Error_Code": "RepoNotFound"}, ModelNotFound, "shows no repository me/some", "Check the name"),
        (401, {"X_Error_Code": "GatedRepo"}, Unauthorized, "me/some asks for consent", "huggingface.co/me/some"),
        (403, {"X_Error_Code": "GatedRepo"}, Unauthorized, "me/some asks for consent", "hf auth login"),
        (403, {}, Unauthorized, "refuses to answer without a token", "hf auth login"),
        (404, {"X_Error_Code": "EntryNotFound"}, ModelNotFound, "me/some has no file one.gguf", "Check owner"),
        (404, {}, ModelNotFound, "me/some has no file one.gguf", "tree/main"),
        (404, {"X_Error_Code": "RevisionNotFound"}, ModelNotFound, "has no revision main", "@"),
        (429, {"Retry_After": "7"}, RateLimited, "wants fewer questions", "in 7 s"),
        (429, {"Retry_After": "Fri, 31 Dec"}, RateLimited, "wants fewer questions", "in a while"),
        (416, {}, ServerError, "refuses to send the file", "Try again"),
        (451, {}, ServerError, "refuses to send the file", "Try again"),
        (500, {}, ServerError, "failed", "Try again"),
        (503, {}, ServerError, "failed", "Try again"),
        (200, {}, ServerError, "does not send parts of files", "Download the file"),
        (204, {}, ServerError, "does not send parts of files", "Download the file"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_with_what_to_do(
    hub: FakeHub, status: int, headers: dict[str, str], kind: type[BackendError], title: str, hint: str
) -> None:
    def refuse(handler: HubHandler, *_: object) -> bool:
        handler.reply(status, {"error": "because \x1b[31m"} if status != 204 else b"", **headers)
        return True

    hub.fault = refuse
    with pytest.raises(kind) as caught:
        fetch_header(ONE)
    assert type(caught.value) is kind
    assert title in caught.value.title
    assert hint in caught.value.hint
    assert "\x1b" not in str(caught.value)
    assert kept_header(ONE) is None


def test_what_the_hub_says_in_its_header_comes_before_its_page(hub: FakeHub) -> None:
    def refuse(handler: HubHandler, *_: object) -> bool:
        handler.reply(403, b"<html><title>No</title>", "text/html", X_Error_Message="Access is disabled.")
        return True

    hub.fault = refuse
    with pytest.raises(Unauthorized, match=r"Access is disabled\."):
        fetch_header(ONE)


@pytest.mark.parametrize(
    ("status", "headers", "title", "hint"),
    [
        (401, {}, "refuses the token", "hf auth whoami"),
        (403, {}, "refuses the token", "hf auth whoami"),
        (403, {"X_Error_Code": "GatedRepo"}, "asks for consent", "account that the token is of"),
    ],
)
def test_a_token_that_does_not_help_is_told_as_such(
    hub: FakeHub, home: Path, status: int, headers: dict[str, str], title: str, hint: str
) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(f'[origins."{hub.root}"]\nkey = "own-key"\n')

    def refuse(handler: HubHandler, *_: object) -> bool:
        handler.reply(status, b"Nothing.", "text/plain", **headers)
        return True

    hub.fault = refuse
    with pytest.raises(Unauthorized) as caught:
        fetch_header(ONE)
    assert title in caught.value.title
    assert hint in caught.value.hint
    assert "own-key" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_store_that_refuses_says_nothing_about_the_token(hub: FakeHub, tmp_path: Path, status: int) -> None:
    hub.add(sparse_model(tmp_path / "one.gguf", QWEN_1_5B, small_vocabulary=True))
    with RawServer(
        lambda line: line.answer_all(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode())
    ) as store:
        hub.store = store.url
        with pytest.raises(ServerError, match="refuses to send the file") as caught:
            fetch_header(ONE)
    assert "token" not in caught.value.hint
    assert "signature" not in str(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        "",
        "bytes 0-262143/*",
        "bytes */5000000",
        "bytes 1-262144/5000000",
        "bytes 0-262142/5000000",
        "bytes 0-262144/5000000",
        "bytes 0-262143/100",
        "bytes 262143-0/5000000",
        "bytes 0-262143/99999999999999999999",
        "bytes 0-262143/-1",
        "items 0-262143/5000000",
        "bytes 0-262143/5000000, bytes 0-1/2",
    ],
)
def test_another_part_than_the_one_that_was_asked_for_is_refused(
    raw: Callable[[Script], RawServer], place: str
) -> None:
    with raw(lambda line: line.answer_all(part(place=place) + bytes(ASKED))):  # noqa: SIM117
        with pytest.raises(ServerError, match="sent what is no answer"):
            fetch_header(ONE)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (part(length=ASKED + 1) + bytes(ASKED + 1), f"more than {ASKED} bytes"),
        (part(length=ASKED - 1) + bytes(ASKED - 1), f"{ASKED - 1} instead of {ASKED} bytes"),
        (part("content-encoding: gzip\r\n") + bytes(ASKED), "packed"),
        (part() + bytes(ASKED - 1), "broke off"),
        (part(length=None) + bytes(ASKED - 1), f"{ASKED - 1} instead of {ASKED} bytes"),
        (b"HTTP/1.1 999\r\n\r\n", "HTTP 999"),
        (b"SSH-2.0-OpenSSH_9\r\n", "broke off"),
        (b"\0" * 200, "broke off"),
        (b"", "broke off"),
    ],
    ids=["too much", "too little", "packed", "cut", "cut without a length", "status", "ssh", "zeros", "nothing"],
)
def test_a_body_that_is_not_the_part_is_refused(raw: Callable[[Script], RawServer], reply: bytes, said: str) -> None:
    def once(line: Line) -> None:
        line.hear()
        line.say(reply)

    with raw(once), pytest.raises(ServerError) as caught:
        fetch_header(ONE)
    assert said in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", part(length=None)], ids=["a whole file", "a part"])
def test_of_a_body_without_an_end_no_more_is_taken_than_was_asked_for(
    raw: Callable[[Script], RawServer], head: bytes
) -> None:
    sent = []

    def endless(line: Line) -> None:
        line.hear()
        line.say(head)
        while True:
            line.say(bytes(65_536))
            sent.append(65_536)

    began = time.monotonic()
    with raw(endless), pytest.raises(ServerError):
        fetch_header(ONE)
    assert time.monotonic() - began < 5
    # What lies in the buffers of the loopback has left the server, but has not been taken.
    assert sum(sent) < 32 * 1024**2


def test_a_long_refusal_is_not_read_to_its_end(raw: Callable[[Script], RawServer]) -> None:
    def endless(line: Line) -> None:
        line.hear()
        line.say(b"HTTP/1.1 500 No\r\n\r\n")
        while True:
            line.say(b"x" * 65_536)

    with raw(endless), pytest.raises(ServerError, match=r"failed: x+… \(HTTP 500\)") as caught:
        fetch_header(ONE)
    assert len(str(caught.value)) < 500


def silent(line: Line) -> None:
    line.hear()
    line.wait()


def dripping(line: Line) -> None:
    """Say a part so slowly that it would take days, but never fall silent."""
    line.hear()
    line.say(part())
    while True:
        line.say(b"G")
        time.sleep(0.01)


@pytest.mark.parametrize("script", [silent, dripping, Line.wait])
def test_a_slow_server_is_left_when_patience_is_at_its_end(raw: Callable[[Script], RawServer], script: Script) -> None:
    began = time.monotonic()
    with raw(script), pytest.raises(ServerUnreachable, match="is too slow") as caught:
        fetch_header(ONE, patience_s=0.3)
    assert 0.25 < time.monotonic() - began < 2
    assert "0.3 s" in caught.value.detail


@pytest.mark.parametrize("script", [silent, dripping])
def test_a_slow_server_is_left_when_the_user_has_enough(raw: Callable[[Script], RawServer], script: Script) -> None:
    cancel = Cancel()
    timer = threading.Timer(0.2, cancel.set)
    timer.start()
    began = time.monotonic()
    with raw(script), pytest.raises(Cancelled):
        fetch_header(ONE, cancel=cancel)
    assert time.monotonic() - began < 2
    timer.join()


def test_who_has_enough_before_it_begins_asks_nobody(hub: FakeHub) -> None:
    cancel = Cancel()
    cancel.set()
    with pytest.raises(Cancelled):
        fetch_header(ONE, cancel=cancel)
    assert hub.asked == []


def test_nothing_of_a_talk_is_left_after_it(hub: FakeHub, tmp_path: Path) -> None:
    hub.add(sparse_model(tmp_path / "one.gguf", QWEN_1_5B, small_vocabulary=True))
    fetch_header(ONE, patience_s=300)
    deadline = time.monotonic() + 2
    while "patience" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_kept_connection_that_the_server_closes_is_opened_again(
    raw: Callable[[Script], RawServer], tmp_path: Path
) -> None:
    file = sparse_model(tmp_path / "one.gguf", QWEN_1_5B)
    size = file.stat().st_size

    def one_each(line: Line) -> None:
        head = line.hear().decode().lower()
        first, last = (int(end) for end in head.partition("range: bytes=")[2].partition("\r")[0].split("-"))
        with file.open("rb") as opened:
            opened.seek(first)
            line.say(
                part(place=f"bytes {first}-{last}/{size}", length=last - first + 1) + opened.read(last - first + 1)
            )

    with raw(one_each) as server:
        assert fetch_header(ONE).shape.layers == 28
    assert server.lines == len(server.heard) == 5


def test_nobody_listening_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    go_online(monkeypatch, f"http://127.0.0.1:{port}")
    with pytest.raises(ServerUnreachable, match=f"127.0.0.1:{port} does not answer") as caught:
        fetch_header(ONE)
    assert "HF_ENDPOINT" in caught.value.hint


def test_a_name_that_nobody_knows_asks_whether_this_machine_is_online(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    go_online(monkeypatch, "")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ServerUnreachable, match=r"huggingface\.co") as caught:
        fetch_header(ONE)
    assert caught.value.hint.startswith("Is this machine online?")


@given(st.text() | st.integers().map(str) | st.datetimes().map(email.utils.format_datetime))
def test_any_retry_after_is_a_number_of_seconds(text: str) -> None:
    assert retry_after_s(text) >= 0


def test_a_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_s("7") == 7
    assert 50 < retry_after_s(email.utils.formatdate(time.time() + 60, usegmt=True)) <= 60
    assert retry_after_s("Fri, 31 Dec") == retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
