"""Whom Hugging Face is asked at, where it may send to, and who gets to see a token."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import BadOptions, ServerError, ServerUnreachable, Unauthorized
from backends.hub import address
from backends.hub.address import HubFile, endpoint, file_url, hub_access, offline
from backends.hub.header import fetch_header
from tests.backends.fake_hub import COMMIT, SIGNATURE, FakeHub, HubHandler, go_online
from tests.backends.raw_server import Line, RawServer, certificate
from tests.gguf_files import QWEN_1_5B, sparse_model

ONE = HubFile("me", "some", "one.gguf")
TOKEN = "hf_very_secret_1"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sparse_model(tmp_path_factory.mktemp("one") / "one.gguf", QWEN_1_5B, small_vocabulary=True)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("own"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, one: Path) -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.add(one)
        go_online(monkeypatch, hub.root)
        yield hub


@pytest.fixture
def as_default(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub on this machine stand for Hugging Face itself."""
    monkeypatch.setattr(address, "DEFAULT", hub.root)


def keys(server: FakeHub) -> list[str | None]:
    return [headers.get("authorization") for headers in server.headers]


def moved(location: str, status: int = 302) -> RawServer:
    reply = f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    return RawServer(lambda line: line.answer_all(reply.encode()))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", "https://huggingface.co"),
        ("https://hf-mirror.example/", "https://hf-mirror.example"),
        (" https://HF.example:443/hub/ ", "https://hf.example/hub"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_the_endpoint_is_hugging_face_or_the_mirror_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", written)
    assert endpoint() == meant
    assert file_url(ONE, endpoint()) == f"{meant}/me/some/resolve/main/one.gguf"


@pytest.mark.parametrize(
    "written", ["hf-mirror.example", "ftp://x", "https://me:pa55@x", "https://x/?a", "https://x/#a"]
)
def test_an_endpoint_that_is_none_is_a_bad_option(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", written)
    with pytest.raises(BadOptions, match="HF_ENDPOINT") as caught:
        endpoint()
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_nothing_is_asked_where_the_user_is_offline(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ServerUnreachable) as caught:
        fetch_header(ONE)
    assert caught.value.hint == f"Unset {variable}."
    assert hub.lines == 0


@pytest.mark.parametrize("value", ["", "0", "no", "false"])
def test_a_switch_that_is_off_forbids_nothing(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert offline() == ""


@pytest.mark.usefixtures("as_default")
@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_goes_to_hugging_face_and_not_to_where_it_sends(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f" {TOKEN}\n")
    with FakeHub() as store:
        store.files = hub.files
        hub.store = store.root
        fetch_header(ONE)
        assert keys(hub) == [f"Bearer {TOKEN}"]
        assert keys(store) == [None]
        assert store.paths == [f"/store/me/some/one.gguf?signature={SIGNATURE}"]
    assert TOKEN not in str(store.headers)


@pytest.mark.usefixtures("as_default")
@pytest.mark.parametrize("where", ["HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME", "home"])
def test_a_token_that_was_entered_once_is_found_where_its_program_keeps_it(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    place = {"HF_TOKEN_PATH": "a", "HF_HOME": "a/token", "XDG_CACHE_HOME": "a/huggingface/token"}.get(where)
    file = tmp_path / (place or ".cache/huggingface/token")
    if place:
        monkeypatch.setenv(where, "~/a")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{TOKEN}\n")
    fetch_header(ONE)
    assert keys(hub) == [f"Bearer {TOKEN}"]


@pytest.mark.usefixtures("as_default")
def test_a_token_is_not_sent_where_the_user_forbids_it(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    fetch_header(ONE)
    assert keys(hub) == [None]


def test_a_mirror_does_not_get_the_token_of_hugging_face(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch_header(ONE)
    assert keys(hub) == [None]


def test_a_mirror_gets_the_key_that_was_entered_for_it(hub: FakeHub, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(f'[origins."{hub.root}"]\nkey = "own-key"\n')
    with FakeHub() as store:
        store.files = hub.files
        hub.store = store.root
        fetch_header(ONE)
        assert keys(store) == [None]
    assert keys(hub) == ["Bearer own-key"]


@pytest.mark.parametrize(
    "token", ["two words", "ünsafe", "a\nb", "x" * 5000], ids=["words", "letters", "lines", "long"]
)
def test_what_cannot_be_a_token_is_not_sent_and_not_shown(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(Unauthorized) as caught:
        hub_access(address.DEFAULT)
    assert token not in str(caught.value) + caught.value.hint
    assert "HF_TOKEN" in caught.value.detail
    assert "HF_TOKEN" in caught.value.hint  # what is stored elsewhere would not be looked at


@pytest.mark.usefixtures("as_default")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_repository_that_was_renamed_is_followed_with_the_token(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, one: Path, status: int
) -> None:
    def renamed(handler: HubHandler, path: str, *_: object) -> bool:
        if path.startswith("/me/some/"):
            handler.reply(status, b"", Location=path.replace("/me/some/", "/we/other/"))
        return path.startswith("/me/some/")

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.files["we/other/one.gguf"] = one
    hub.fault = renamed
    assert fetch_header(ONE).commit == COMMIT
    assert keys(hub) == [f"Bearer {TOKEN}"] * 2


@pytest.mark.usefixtures("as_default")
def test_who_is_sent_back_to_hugging_face_does_not_bring_the_token(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with moved(f"{hub.root}/store/me/some/one.gguf") as between:
        hub.store = between.url
        fetch_header(ONE)
    assert keys(hub) == [f"Bearer {TOKEN}", None]
    assert "authorization" not in between.heard[0].lower()


@pytest.mark.parametrize(
    "location",
    [
        "",
        "ftp://x/y",
        "https://me:pa55@x/y",
        "http://[::1",
        "https://me:pa55@[::1",
        "//",
        "http://a b/",
        "http://127.0.0.1:0/",
    ],
)
def test_to_what_is_no_address_nobody_is_sent(hub: FakeHub, location: str) -> None:
    def sending(handler: HubHandler, *_: object) -> bool:
        handler.reply(302, b"", Location=location)
        return True

    hub.fault = sending
    with pytest.raises(ServerError, match="sends elsewhere") as caught:
        fetch_header(ONE)
    assert "pa55" not in str(caught.value)
    assert len(hub.asked) == 1


def test_a_ring_of_addresses_is_left_after_a_few(hub: FakeHub) -> None:
    def ring(handler: HubHandler, path: str, *_: object) -> bool:
        handler.reply(302, b"", Location=path + "x")
        return True

    hub.fault = ring
    with pytest.raises(ServerError, match="sends elsewhere"):
        fetch_header(ONE)
    assert len(hub.asked) == 6


@pytest.fixture
def safe_hub(own: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, one: Path) -> Iterator[FakeHub]:
    """A hub over TLS, with a certificate that nobody trusts but who is told to."""
    with FakeHub(tls=own[1]) as hub:
        hub.add(one)
        go_online(monkeypatch, hub.root)
        yield hub


def test_certificates_are_those_of_the_environment_or_of_the_settings(
    safe_hub: FakeHub, own: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    with pytest.raises(ServerUnreachable, match="not trusted") as caught:
        fetch_header(ONE)
    assert "--ca-file" in caught.value.hint
    (home / "config").mkdir()
    settings = home / "config" / "config.toml"
    settings.write_text(f'[origins."{safe_hub.root}"]\nca_file = "{own[0]}"\n')
    assert fetch_header(ONE).commit == COMMIT


def test_certificates_that_are_not_there_are_a_bad_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go_online(monkeypatch, "https://hub.invalid")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(BadOptions) as caught:
        fetch_header(ONE)
    assert "SSL_CERT_FILE" in caught.value.hint


def test_from_an_encrypted_hub_nobody_is_sent_to_a_plain_store(
    safe_hub: FakeHub, own: tuple[Path, ssl.SSLContext], home: Path
) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(f'[origins."{safe_hub.root}"]\nca_file = "{own[0]}"\n')
    with FakeHub() as store:
        safe_hub.store = store.root
        with pytest.raises(ServerError, match="nothing is encrypted") as caught:
            fetch_header(ONE)
        assert store.lines == 0
    assert "signature" not in str(caught.value)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> FakeHub:
    """The hub as a proxy that leads to one far away."""
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("HTTP_PROXY", hub.root)
    return hub


def test_a_hub_far_away_is_reached_by_the_proxy_of_the_environment(far: FakeHub) -> None:
    assert fetch_header(ONE).server == "hub.invalid"
    assert far.paths == ["http://hub.invalid/me/some/resolve/main/one.gguf"]


def test_from_a_hub_far_away_nobody_is_sent_to_this_machine(far: FakeHub) -> None:
    with RawServer(Line.answer_all) as here:
        far.store = here.url
        with pytest.raises(ServerError, match="to this machine"):
            fetch_header(ONE)
        assert here.lines == 0


def test_a_proxy_that_refuses_is_told_with_what_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(lambda line: line.answer_all(b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n")) as proxy:
        go_online(monkeypatch, "https://hub.invalid")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(ServerUnreachable, match="407") as caught:
            fetch_header(ONE)
    assert "HTTPS_PROXY" in caught.value.hint
    assert proxy.heard[0].startswith("CONNECT hub.invalid:443 ")
