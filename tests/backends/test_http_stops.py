"""Whatever an HTTP client waits for can be ended at once, and a request is sent again only where nobody heard it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backends.base import Cancel
from backends.http.client import sent, stoppable
from backends.http.failures import unreachable
from tests.backends.raw_server import CHUNKED, OK, Caller, Line, RawServer, certificate

AT_ONCE_S = 1.0  # what is not ended waits for five seconds and more


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("own"))


@pytest.fixture
def timers() -> Iterator[Callable[[float, Callable[[], Any]], None]]:
    """Call something later."""
    started: list[threading.Timer] = []

    def later(seconds: float, call: Callable[[], Any]) -> None:
        started.append(threading.Timer(seconds, call))
        started[-1].start()

    yield later
    for timer in started:
        timer.cancel()
        timer.join()


Later = Callable[[float, Callable[[], Any]], None]


def silent(line: Line) -> None:
    line.hear()
    line.wait()


def stuck(line: Line) -> None:
    line.hear()
    line.say(CHUNKED + b"2\r\nok\r\n")
    line.wait()


def first_then_all(first: Callable[[Line], None]) -> Callable[[Line], None]:
    return lambda line: first(line) if line.number == 0 else line.answer_all()


def ended_at_once(call: Callable[[], Any], shut: Callable[[], Any], later: Later) -> None:
    """See that what waits is ended by `shut`, and not before."""
    ended: list[float] = []

    def end() -> None:
        ended.append(time.monotonic())
        shut()

    later(0.15, end)
    with pytest.raises(httpx.TransportError):
        call()
    assert ended, "it ended by itself"
    assert time.monotonic() - ended[0] < AT_ONCE_S


def test_a_request_that_waits_for_its_first_byte_is_ended(timers: Later) -> None:
    with RawServer(first_then_all(silent)) as server, Caller(server.url) as caller:
        ended_at_once(caller.get, caller.sockets.shut, timers)
        assert caller.get().text == "ok"
        assert len(server.heard) == 2


def test_a_request_in_a_kept_connection_is_ended(timers: Later) -> None:
    def once(line: Line) -> None:
        line.hear()
        line.say(OK)
        silent(line)

    with RawServer(first_then_all(once)) as server, Caller(server.url) as caller:
        caller.get()
        ended_at_once(caller.get, caller.sockets.shut, timers)
        assert caller.get().text == "ok"
        assert server.lines == 2


def test_a_reply_in_mid_stream_is_ended(timers: Later) -> None:
    with RawServer(first_then_all(stuck)) as server, Caller(server.url) as caller:
        with caller.client.stream("GET", server.url) as reply:
            pieces = reply.iter_bytes()
            assert next(pieces) == b"ok"
            ended_at_once(lambda: next(pieces), caller.sockets.shut, timers)
        assert caller.get().text == "ok"


@pytest.mark.parametrize("script", [silent, stuck])
def test_a_request_over_tls_is_ended(
    own: tuple[Path, ssl.SSLContext], timers: Later, script: Callable[[Line], None]
) -> None:
    with (
        RawServer(first_then_all(script), own[1]) as server,
        Caller(server.url, ca_file=str(own[0])) as caller,
    ):
        ended_at_once(caller.get, caller.sockets.shut, timers)
        assert caller.get().text == "ok"


def test_a_server_that_never_greets_over_tls_is_left(timers: Later) -> None:
    with RawServer(Line.wait) as server, Caller(f"https://127.0.0.1:{server.port}") as caller:
        ended_at_once(caller.get, caller.sockets.shut, timers)
        assert server.lines == 1


class SlowNetwork:
    """Connections that open only after `release`: as to a far machine that is off, or a name that nobody knows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.released = threading.Event()
        self.opened: list[socket.socket] = []
        self._connect = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", self.connect)

    def connect(self, *args: Any, **kwargs: Any) -> socket.socket:
        self.released.wait(20)
        self.opened.append(self._connect(*args, **kwargs))
        return self.opened[-1]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowNetwork]:
    network = SlowNetwork(monkeypatch)
    yield network
    network.released.set()


def test_a_request_that_still_connects_is_ended_and_its_line_closed(slow: SlowNetwork, timers: Later) -> None:
    with RawServer() as server, Caller(server.url) as caller:
        ended_at_once(caller.get, caller.sockets.shut, timers)
        slow.released.set()
        until(lambda: slow.opened and slow.opened[0].fileno() == -1)
        assert server.heard == []
        assert caller.get().text == "ok"


def test_a_slow_line_that_nobody_ends_is_used(slow: SlowNetwork, timers: Later) -> None:
    timers(0.1, slow.released.set)
    with RawServer() as server, Caller(server.url) as caller:
        assert caller.get().text == "ok"


def test_a_line_that_cannot_be_opened_is_told_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Caller(f"http://127.0.0.1:{port}") as caller, pytest.raises(httpx.ConnectError) as caught:
        caller.get()
    assert unreachable(caught.value, "box").detail == "Nothing listens there."


def test_a_request_ended_before_its_line_opens_is_never_sent() -> None:
    with RawServer() as server, Caller(server.url) as caller:
        request = caller.request()
        caller.sockets.hook(request)
        caller.sockets.shut()
        with pytest.raises(httpx.ConnectError):
            caller.client.send(request)
        assert server.heard == []
        assert caller.get().text == "ok"


def test_all_requests_of_a_client_are_ended_and_none_of_another(timers: Later) -> None:
    with RawServer(silent) as server, Caller(server.url) as caller, Caller(server.url) as other:
        failed: list[BaseException] = []
        results: list[str] = []

        def ask(one: Caller) -> None:
            try:
                results.append(one.get().text)
            except httpx.TransportError as error:
                failed.append(error)

        threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in (caller, caller, other)]
        for thread in threads:
            thread.start()
        until(lambda: len(server.heard) == 3)
        caller.sockets.shut()
        for thread in threads[:2]:
            thread.join(AT_ONCE_S)
        assert [thread.is_alive() for thread in threads] == [False, False, True]
        other.sockets.shut()
        threads[2].join(AT_ONCE_S)
        assert len(failed) == 3


def test_shutting_with_nothing_to_end_is_harmless_and_told_in_the_state() -> None:
    with RawServer() as server, Caller(server.url) as caller:
        states = [caller.sockets.state]
        for call in (caller.sockets.shut, caller.get, caller.sockets.shut, caller.sockets.shut, caller.get):
            call()
            states.append(caller.sockets.state)
        assert len(set(states)) == len(states)
        caller.get()  # in the connection that is there
        assert caller.sockets.state == states[-1]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.005)


def test_a_wish_to_stop_ends_what_is_waited_for_inside_the_block(timers: Later) -> None:
    cancel = Cancel()
    with RawServer(first_then_all(silent)) as server, Caller(server.url) as caller:
        with stoppable(caller.sockets.shut, cancel):
            ended_at_once(caller.get, cancel.set, timers)
        assert caller.get().text == "ok"


def test_a_request_that_begins_just_after_the_wish_is_ended_too() -> None:
    cancel = Cancel()
    with RawServer(silent) as server, Caller(server.url) as caller, stoppable(caller.sockets.shut, cancel):
        cancel.set()
        started = time.monotonic()
        with pytest.raises(httpx.TransportError):
            caller.get()
        assert time.monotonic() - started < AT_ONCE_S


def test_a_wish_from_before_the_block_counts() -> None:
    cancel, shuts = Cancel(), []
    cancel.set()
    with stoppable(lambda: shuts.append(1), cancel):
        assert shuts


def test_a_wish_after_the_block_ends_nothing() -> None:
    cancel, shuts = Cancel(), []
    with stoppable(lambda: shuts.append(1), cancel):
        pass
    cancel.set()
    time.sleep(0.12)
    assert shuts == []


@pytest.mark.parametrize("failing", [False, True])
def test_nothing_is_ended_any_more_once_the_block_is_left(failing: bool) -> None:
    cancel, shuts = Cancel(), []

    def block() -> None:
        with stoppable(lambda: shuts.append(1), cancel):
            cancel.set()
            if failing:
                raise OSError

    try:
        block()
    except OSError:
        assert failing
    count = len(shuts)
    time.sleep(0.12)
    assert len(shuts) == count >= 1
    assert "stop" not in {thread.name for thread in threading.enumerate()}


def again(caller: Caller, **options: bool) -> httpx.Response:
    return sent(caller.client, caller.request(), caller.sockets, **options)


def leaving(line: Line) -> None:
    """Answer one request and close when the next one comes."""
    line.hear()
    line.say(OK)
    line.hear()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_into_a_line_that_was_just_closed_is_sent_once_more(stream: bool) -> None:
    with RawServer(first_then_all(leaving)) as server, Caller(server.url) as caller:
        again(caller)
        reply = again(caller, stream=stream)
        assert reply.read() == b"ok"
        reply.close()
        assert (len(server.heard), server.lines) == (3, 2)


def test_it_is_sent_once_more_and_not_for_ever() -> None:
    def never(line: Line) -> None:
        leaving(line) if line.number == 0 else line.hear()

    with RawServer(never) as server, Caller(server.url) as caller:
        again(caller)
        with pytest.raises(httpx.RemoteProtocolError):
            again(caller)
        assert (len(server.heard), server.lines) == (3, 2)


def test_a_new_line_that_is_closed_without_an_answer_is_a_failure() -> None:
    with RawServer(lambda line: line.hear()) as server, Caller(server.url) as caller:
        with pytest.raises(httpx.RemoteProtocolError):
            again(caller)
        assert len(server.heard) == 1


def test_a_request_that_was_ended_is_not_sent_once_more(timers: Later) -> None:
    def once(line: Line) -> None:
        line.hear()
        line.say(OK)
        silent(line)

    with RawServer(first_then_all(once)) as server, Caller(server.url) as caller:
        again(caller)
        ended_at_once(lambda: again(caller), caller.sockets.shut, timers)
        assert (len(server.heard), server.lines) == (2, 1)


def test_a_server_that_falls_silent_in_a_kept_line_is_not_asked_once_more() -> None:
    def once(line: Line) -> None:
        line.hear()
        line.say(OK)
        silent(line)

    with RawServer(first_then_all(once)) as server, Caller(server.url, silence_s=0.2) as caller:
        again(caller)
        with pytest.raises(httpx.ReadTimeout):
            again(caller)
        assert (len(server.heard), server.lines) == (2, 1)
