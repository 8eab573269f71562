"""Fetching where something is wrong: each failure typed, what passes is waited for, and what is here stays."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from backends.errors import (
    BackendError,
    BadModelFile,
    ModelNotFound,
    RateLimited,
    ServerError,
    ServerUnreachable,
    Unauthorized,
)
from backends.hub import failures, listing, patience, pull
from backends.hub.address import HubFile
from backends.hub.failures import WrongContent
from backends.hub.patience import Patience
from backends.hub.wanted import Pull
from tests.backends.fake_hub import COMMIT, FakeHub, HubHandler
from tests.backends.pulling import ONE, Puller, make_puller, sha256
from tests.backends.raw_server import RawServer

MIB = 1024**2
Fault = Callable[[HubHandler], None]


@pytest.fixture
def puller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path) -> Iterator[Puller]:
    yield from make_puller(monkeypatch, tmp_path)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long would have been waited: nobody waits."""
    found: list[float] = []
    monkeypatch.setattr(Patience, "_sleep", lambda _self, _error, pause_s: found.append(pause_s))
    return found


def at_first(count: int, fault: Fault, *, after: int = 1) -> Callable[[HubHandler, str, object], bool]:
    """Answer so many requests with a fault, from the one with number `after` on: the first only asks for facts."""
    seen = [0]

    def answer(handler: HubHandler, *_: object) -> bool:
        seen[0] += 1
        if after < seen[0] <= after + count:
            fault(handler)
            return True
        return False

    return answer


def status(code: int, **headers: str) -> Fault:
    return lambda handler: handler.reply(code, b"no", "text/plain", **headers)


def send(handler: HubHandler, head: dict[str, str], body: bytes, code: int = 206) -> None:
    handler.send_response(code)
    for name, value in ({"X-Repo-Commit": COMMIT, "Content-Length": str(len(body))} | head).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize(
    ("fault", "kind", "title"),
    [
        (status(401), ModelNotFound, "shows no repository"),
        (status(403, X_Error_Code="GatedRepo"), Unauthorized, "asks for consent"),
        (status(403), Unauthorized, "without a token"),
        (status(404, X_Error_Code="EntryNotFound"), ModelNotFound, "has no file"),
        (status(404, X_Error_Code="RevisionNotFound"), ModelNotFound, "has no revision"),
        (status(451), ServerError, "refuses to send"),
        (status(302), ServerError, "sends elsewhere"),
        (status(302, Location="ftp://x/y"), ServerError, "sends elsewhere"),
        (status(206), ServerError, "sent what is no answer"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("after", [0, 1])
def test_what_lasts_is_told_at_once(
    puller: Puller, pauses: list[float], fault: Fault, kind: type[BackendError], title: str, after: int
) -> None:
    puller.publish()
    puller.hub.fault = at_first(99, fault, after=after)
    with pytest.raises(kind, match=title) as caught:
        puller.pull()
    assert type(caught.value) is kind
    assert caught.value.hint
    assert pauses == []
    assert not any(name.endswith(".gguf") for name in puller.names)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("after", [0, 1])
def test_what_passes_is_tried_again_with_ever_longer_pauses(
    puller: Puller, pauses: list[float], code: int, after: int
) -> None:
    content = puller.publish()
    puller.hub.fault = at_first(3, status(code), after=after)
    puller.pull(patience_s=100)
    assert puller.fetched(content)
    assert pauses == [1, 2, 4]


def test_a_server_is_left_alone_as_long_as_it_wants(puller: Puller, pauses: list[float]) -> None:
    content = puller.publish()
    puller.hub.fault = at_first(2, status(429, Retry_After="77"), after=0)
    puller.pull()
    assert puller.fetched(content)
    assert pauses == [77, 77]


def test_a_server_that_wants_hours_is_told_of(puller: Puller, pauses: list[float]) -> None:
    puller.publish()
    puller.hub.fault = at_first(99, status(429, Retry_After="3000"), after=0)
    with pytest.raises(RateLimited) as caught:
        puller.pull()
    assert "3000 s" in caught.value.hint
    assert pauses == [3000]


def test_a_server_that_always_wants_a_second_more_is_given_up_within_the_hour(
    puller: Puller, pauses: list[float]
) -> None:
    puller.publish()
    puller.hub.fault = at_first(9999, status(429, Retry_After="1"), after=0)
    with pytest.raises(RateLimited):
        puller.pull()
    assert 3000 < sum(pauses) <= 3600


def test_whoever_waits_is_told_for_what(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.6)
    puller.publish()
    puller.hub.fault = at_first(1, status(503), after=1)
    puller.pull()
    assert puller.stages.count("waiting") >= 1
    (note,) = {note for stage, note in zip(puller.stages, puller.notes, strict=True) if stage == "waiting"}
    assert "HTTP 503" in note
    assert "The next try is in 1 s." in note


def test_a_line_that_breaks_again_and_again_ends_well(puller: Puller, pauses: list[float]) -> None:
    content = puller.publish(size=1_000_000)
    puller.hub.breaks_after = 200_000
    puller.pull()
    assert puller.fetched(content)
    assert [offset for offset, _ in puller.hub.parts[1:]] == [0, 262144, 524288, 786432]
    assert puller.hub.sent == 1_000_001
    assert pauses == [1, 1, 1]  # progress makes patience fresh


def test_a_line_that_breaks_without_progress_is_given_up(puller: Puller) -> None:
    puller.publish(size=1_000_000)
    puller.hub.fault = at_first(999, HubHandler.die, after=1)
    began = time.monotonic()
    with pytest.raises(ServerError, match="broke off"):
        puller.pull(patience_s=0.5)
    assert 0.3 < time.monotonic() - began < 3


def test_a_server_that_claims_more_than_it_has_is_given_up_and_leaves_no_model(puller: Puller) -> None:
    puller.publish(size=100_000)

    def lie(handler: HubHandler, *_: object) -> bool:
        first, last = (int(part or 199_999) for part in handler.headers["range"].removeprefix("bytes=").split("-"))
        body = b"GGUF".ljust(100_000, b"x")[first : last + 1]
        head = {"Content-Range": f"bytes {first}-{last}/200000", "Content-Length": str(last - first + 1)}
        send(handler, head, body)
        if len(body) < last - first + 1:
            handler.die()
        return True

    puller.hub.fault = lie
    with pytest.raises(ServerError):
        puller.pull(patience_s=0.3)
    assert not any(name.endswith(".gguf") for name in puller.names)


@pytest.mark.parametrize(
    ("head", "body", "code"),
    [
        ({"X-Linked-Size": "5"}, b"GGUFxx", 200),
        ({"X-Linked-Size": "5", "Content-Range": "bytes 0-0/6"}, b"G", 206),
        ({"Content-Range": "bytes 0-0/0"}, b"G", 206),
        ({"Content-Range": "bytes 5-5/6"}, b"G", 206),
        ({"Content-Range": "bytes 0-9/6"}, b"G", 206),
        ({"Content-Range": "x"}, b"G", 206),
        ({"Content-Encoding": "gzip", "Content-Range": "bytes 0-0/6"}, b"G", 206),
        ({"Content-Type": "text/html"}, b"<html><title>Log in</title>", 200),
        ({"Content-Type": "text/html; charset=utf-8", "Content-Range": "bytes 0-0/6"}, b"<", 206),
    ],
)  # fmt: skip
def test_a_mirror_that_lies_or_sends_a_page_is_told_of(
    puller: Puller, head: dict[str, str], body: bytes, code: int
) -> None:
    def lie(handler: HubHandler, *_: object) -> bool:
        send(handler, head, body, code)
        return True

    puller.hub.fault = lie
    with pytest.raises(ServerError, match="sent what is no answer") as caught:
        puller.pull()
    assert "HF_ENDPOINT" in caught.value.hint
    if "html" in head.get("Content-Type", ""):
        assert "It sent a web page" in caught.value.detail
    assert not puller.folder.exists()


def test_a_file_without_a_length_is_not_taken(puller: Puller) -> None:
    with RawServer(lambda line: (line.hear(), line.say(b"HTTP/1.1 200 OK\r\n\r\nGGUF"))[1]) as server:  # noqa: SIM117
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_ENDPOINT", server.url)
            with pytest.raises(ServerError, match="how long the file is"):
                puller.pull()


def test_a_server_that_sends_no_parts_is_good_enough_but_begins_anew(puller: Puller, pauses: list[float]) -> None:
    content = puller.publish(size=400_000)

    def whole(handler: HubHandler) -> None:
        head = {"X-Linked-Etag": f'"{sha256(content)}"', "Content-Length": str(len(content))}
        broken = puller.hub.asked[1:] and len(puller.hub.asked) < 4
        send(handler, head, content[:150_000] if broken else content, 200)
        if broken:
            handler.die()

    puller.hub.fault = at_first(99, whole, after=0)
    puller.pull(patience_s=100)
    assert puller.fetched(content)
    assert len(pauses) == 2


def test_a_server_that_begins_anew_and_never_comes_further_is_given_up(puller: Puller, pauses: list[float]) -> None:
    content = puller.publish(size=400_000)

    def whole(handler: HubHandler) -> None:
        broken = len(puller.hub.asked) < 500
        send(handler, {"Content-Length": str(len(content))}, content[:150_000] if broken else content, 200)
        if broken:
            handler.die()

    puller.hub.fault = at_first(999, whole)
    with pytest.raises(ServerError, match="broke off"):
        puller.pull(patience_s=0.1)
    assert len(pauses) < 400


def test_more_bytes_than_announced_are_not_taken(puller: Puller) -> None:
    content = puller.publish()

    def more(handler: HubHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.data(content[:-1])
        handler.data(b"xyz")
        handler.end()

    puller.hub.fault = at_first(1, more)
    with pytest.raises(ServerError, match="more than"):
        puller.pull()
    assert not any(name.endswith(".gguf") for name in puller.names)


def test_a_part_that_the_server_no_longer_goes_on_with_is_begun_anew_once(puller: Puller) -> None:
    content = puller.publish(size=600_000)
    puller.hub.fault = at_first(1, lambda handler: handler.part(puller.hub.files["me/some/one.gguf"]))
    puller.hub.breaks_after = 300_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Patience, "_sleep", lambda *_: None)

        def refuse(handler: HubHandler, *_: object) -> bool:
            if handler.headers["range"].startswith("bytes=0-"):
                puller.hub.breaks_after = 300_000 if len(puller.hub.asked) < 3 else None
                return False
            handler.reply(416, b"", "text/plain", Content_Range="bytes */600000")
            return True

        puller.hub.fault = refuse
        puller.pull()
    assert puller.fetched(content)
    assert [first for first, _ in puller.hub.parts] == [0, 0, 0]


def test_a_wrong_hash_leaves_nothing(puller: Puller) -> None:
    puller.publish()
    puller.hub.hashes["me/some/one.gguf"] = "0" * 64
    with pytest.raises(WrongContent, match="not what was announced") as caught:
        puller.pull()
    assert "thrown away" in caught.value.detail
    assert puller.names == []


def test_a_file_that_changes_in_the_middle_is_told_of(puller: Puller, tmp_path: Path) -> None:
    puller.publish()

    def change(handler: HubHandler) -> None:
        puller.publish(size=400_000)
        handler.answer(None)

    puller.hub.fault = at_first(1, change)
    with pytest.raises(ServerError, match="another than a moment ago"):
        puller.pull()
    content = puller.publish(size=400_000)
    puller.pull()
    assert puller.fetched(content)


def test_what_calls_itself_gguf_and_is_not_is_given_up_at_its_first_bytes(puller: Puller) -> None:
    puller.publish(content=b"version https://git-lfs.github.com/spec/v1".ljust(5_000_000))
    puller.hub.bytes_per_s = 2_000_000
    began = time.monotonic()
    with pytest.raises(BadModelFile, match="sent what is no model"):
        puller.pull()
    assert time.monotonic() - began < 1
    assert puller.names == []


def test_nobody_listening_is_told_soon(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(ServerUnreachable, match="does not answer"):
        puller.pull()


def test_a_name_that_nobody_knows_is_told_soon(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ServerUnreachable, match=r"huggingface\.co") as caught:
        puller.pull()
    assert caught.value.hint.startswith("Is this machine online?")


def test_a_silent_line_is_opened_again(puller: Puller, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    content = puller.publish()
    monkeypatch.setattr(pull, "SILENCE_S", 0.2)
    puller.hub.fault = at_first(1, lambda handler: handler.wait(30))
    puller.pull(patience_s=30)
    assert puller.fetched(content)
    assert pauses == [1]


def test_a_listing_that_is_none_is_told_of(puller: Puller) -> None:
    for said in (b"[]", b"{", b'{"siblings": [{"rfilename": "config.json"}]}', b'{"sha": 3}', b"\xff"):
        puller.hub.fault = lambda handler, *_, said=said: handler.reply(200, said) or True
        with pytest.raises(ServerError, match="sent what is no answer"):
            puller.pull(HubFile("me", "some", ""))


def test_a_listing_without_an_end_is_not_read(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_LARGEST_BYTES", MIB)
    puller.hub.fault = lambda handler, *_: handler.reply(200, b" " * (MIB + 1)) or True
    with pytest.raises(ServerError, match="more than 1 MiB"):
        puller.pull(HubFile("me", "some", ""))


def test_no_error_shows_a_signed_address_or_steers_a_terminal(puller: Puller, pauses: list[float]) -> None:
    puller.publish()
    evil = "\x1b[31m\u202e"
    with FakeHub() as store:
        puller.hub.store = store.root  # it has no such file
        with pytest.raises(BackendError) as caught:
            puller.pull()
        assert "signature" not in str(caught.value)
    puller.hub.store = ""
    puller.hub.fault = at_first(9, lambda handler: handler.reply(403, {"error": evil}), after=0)
    with pytest.raises(BackendError) as caught:
        puller.pull()
    assert all(part.isprintable() for part in (caught.value.title, caught.value.detail, caught.value.hint))


def test_a_pull_as_a_job_tells_its_failure_by_name(puller: Puller, home: Path) -> None:
    from backends.jobs import launch
    from backends.jobs.job import JobSpec

    puller.publish()
    puller.hub.hashes["me/some/one.gguf"] = "0" * 64
    work = msgspec.to_builtins(Pull(ONE, str(puller.folder)))
    *_, last = launch.watch(launch.start(JobSpec("pull", "x", "One", work)).key, 0.02)
    assert last.progress.error is not None
    assert last.progress.error.kind == failures.WrongContent.kind == "wrong_content"
    assert (last.folder / "log").read_text() == ""
