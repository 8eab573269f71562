"""An HTTP client for one server: whom its key, its proxy and its trust are for, and how much it takes in."""

from __future__ import annotations

import gzip
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backends.errors import BadOptions
from backends.http import client
from backends.http.client import STREAMED
from backends.http.failures import unreachable
from tests.backends.raw_server import CHUNKED, Caller, Line, RawServer, Script, certificate

KEY = "sk-very-secret-1"
FAR = "http://far.invalid:8000"


@pytest.fixture
def server() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("own"))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def answering(reply: bytes) -> RawServer:
    return RawServer(lambda line: line.answer_all(reply))


def headers(head: str) -> dict[str, str]:
    return dict(line.lower().split(": ", 1) for line in head.strip().splitlines()[1:])


def test_a_key_goes_out_in_its_header(server: RawServer) -> None:
    with Caller(server.url, KEY) as caller:
        assert caller.get().text == "ok"
    assert headers(server.heard[0])["authorization"] == f"bearer {KEY}"


def test_without_a_key_none_is_sent_whatever_lies_around(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {KEY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Caller(server.url) as caller:
        caller.get()
    assert "authorization" not in headers(server.heard[0])
    assert KEY not in server.heard[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server: RawServer, status: int) -> None:
    moved = f"HTTP/1.1 {status} Moved\r\nlocation: {server.url}/x\r\ncontent-length: 0\r\n\r\n".encode()
    with answering(moved) as first, Caller(first.url, KEY) as caller:
        assert caller.get().status_code == status
        assert len(first.heard) == 1
    assert server.heard == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_far_server_is_reached_by_the_proxy_of_the_environment(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, server.url)
    with Caller(FAR, KEY) as caller:
        assert caller.get("/v1").text == "ok"
    assert server.heard[0].startswith(f"GET {FAR}/v1 HTTP/1.1\r\n")


def test_a_proxy_that_is_named_without_its_kind_is_one_for_http(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{server.port}")
    with Caller(FAR) as caller:
        assert caller.get().text == "ok"


def test_a_proxy_sees_neither_key_nor_path_of_what_is_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with Caller("https://far.invalid", KEY) as caller, pytest.raises(httpx.ProxyError):
            caller.get("/v1")
    assert proxy.heard[0].startswith("CONNECT far.invalid:443 ")
    assert KEY not in proxy.heard[0]
    assert "v1" not in proxy.heard[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.1.localhost"])
def test_a_server_on_this_machine_is_never_reached_by_a_proxy(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with RawServer() as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        with Caller(f"http://{host}:{server.port}", KEY) as caller:
            try:
                assert caller.get().text == "ok"
            except (httpx.ConnectError, RuntimeError):  # this name may lead nowhere here
                assert host == "127.0.0.1.localhost"
        assert proxy.heard == []
        assert proxy.lines == 0


@pytest.mark.parametrize("exempt", ["far.invalid", ".invalid", "x,far.invalid:8000", "*"])
def test_a_far_server_that_needs_no_proxy_is_asked_itself(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", exempt)
    with Caller(FAR) as caller, pytest.raises(RuntimeError, match=r"look up far\.invalid"):
        caller.get()
    monkeypatch.setenv("NO_PROXY", "other.invalid")
    with Caller(FAR) as caller:
        assert caller.get().text == "ok"
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    "proxy", ["ftp://me:pa55@box", "http://me:pa55@[::1", "http://me:pa55", "socks4://me:pa55@box"]
)
def test_a_proxy_that_cannot_be_used_is_a_bad_option(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(BadOptions) as caught:
        Caller(FAR)
    assert "ALL_PROXY" in caught.value.hint
    assert "pa55" not in str(caught.value)
    Caller("http://127.0.0.1:1").client.close()


def test_a_proxy_that_needs_another_package_is_a_bad_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(BadOptions, match="socksio"):
        Caller(FAR)


def test_a_certificate_that_nobody_vouches_for_is_refused(own: tuple[Path, ssl.SSLContext]) -> None:
    with RawServer(tls=own[1]) as server, Caller(server.url, KEY) as caller:
        with pytest.raises(httpx.ConnectError) as caught:
            caller.get()
        assert "not trusted" in unreachable(caught.value, "box").title
        assert server.heard == []


def test_a_certificate_of_ones_own_is_trusted_for_its_own_name_alone(own: tuple[Path, ssl.SSLContext]) -> None:
    with RawServer(tls=own[1]) as server:
        with Caller(server.url, KEY, str(own[0])) as caller:
            assert caller.get().text == "ok"
        with (
            Caller(f"https://localhost:{server.port}", KEY, str(own[0])) as caller,
            pytest.raises(httpx.ConnectError, match="not valid for 'localhost'"),
        ):
            caller.get()
        assert len(server.heard) == 1


def test_a_file_of_certificates_is_found_from_the_home_folder(
    own: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(own[0].parent))
    with RawServer(tls=own[1]) as server, Caller(server.url, KEY, "~/cert.pem") as caller:
        assert caller.get().text == "ok"


@pytest.mark.parametrize("name", ["missing.pem", "empty.pem", "garbage.pem", "", "~nobody-of-this-name/x.pem", "a\0b"])
def test_certificates_that_cannot_be_read_are_a_bad_option(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "garbage.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(BadOptions) as caught:
        Caller("https://127.0.0.1:1", KEY, name if name.startswith("~") else str(tmp_path / name))
    assert "https://127.0.0.1:1" in caught.value.detail
    assert KEY not in str(caught.value)
    assert "PEM" in caught.value.hint


def endless(line: Line, status: bytes = b"200 OK") -> None:
    line.hear()
    line.say(CHUNKED.replace(b"200 OK", status))
    while True:
        line.say(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")


def failing(line: Line) -> None:
    endless(line, b"500 Oh")


@pytest.mark.parametrize("script", [endless, failing])
def test_a_reply_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    monkeypatch.setattr(client, "REPLY_LIMIT", 1 << 20)
    with RawServer(script) as server, Caller(server.url) as caller:
        with pytest.raises(httpx.DecodingError, match="longer than 1 MiB"):
            caller.get()
        server.script = Line.answer_all
        assert caller.get().text == "ok"


def test_a_refusal_is_bounded_even_where_lines_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REPLY_LIMIT", 1 << 20)
    with RawServer(failing) as server, Caller(server.url) as caller, pytest.raises(httpx.DecodingError):
        caller.get(**{STREAMED: True})


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
def test_a_reply_may_be_as_long_as_the_limit(monkeypatch: pytest.MonkeyPatch, size: int, fits: bool) -> None:
    monkeypatch.setattr(client, "REPLY_LIMIT", 100)
    reply = f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode() + b"x" * size
    with answering(reply) as server, Caller(server.url) as caller:
        if fits:
            assert len(caller.get().content) == size
        else:
            with pytest.raises(httpx.DecodingError):
                caller.get()
        assert len(caller.get(**{STREAMED: True}).content) == size  # each line is bounded elsewhere


def packed(data: bytes) -> bytes:
    body = gzip.compress(data)
    return f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def test_nothing_compressed_is_asked_for_and_little_of_it_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REPLY_LIMIT", 1 << 20)
    with answering(packed(b"hello")) as server, Caller(server.url) as caller:
        assert caller.get().text == "hello"
        assert headers(server.heard[0])["accept-encoding"] == "identity"
        server.script = lambda line: line.answer_all(packed(b"\0" * (8 << 20)))
        caller.sockets.shut()
        with pytest.raises(httpx.DecodingError):
            caller.get()


def test_a_silent_server_is_left_after_the_silence_that_was_asked_for() -> None:
    with (
        RawServer(Line.wait) as server,
        Caller(server.url, silence_s=0.2) as caller,
        pytest.raises(httpx.ReadTimeout),
    ):
        caller.get()
