"""One spelling for each server, and a key that goes to its own server and shows nowhere."""

from __future__ import annotations

import ipaddress
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx
import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backend import KeyringBackend

from backends import origins
from backends.errors import BackendError, BadOptions, NewOrigin, Unauthorized, to_info
from backends.origins import Access, Origin, access, is_local, origin_of

KEY = "sk-very-secret-1"
HOSTS = st.one_of(
    st.sampled_from(
        ["localhost", "example.com", "EXAMPLE.com", "127.0.0.1", "[::1]", "[fe80::1%eth0]", "faß.de", "ⓛx"]
    ),
    st.text(max_size=12),
    st.ip_addresses(v=6).map(lambda number: f"[{number.exploded}]"),
    st.ip_addresses(v=4).map(str),
)
ADDRESSES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["http://", "https://", "HTTPS://", "ftp://", "", "//"]),
    HOSTS,
    st.sampled_from(["", ":", ":80", ":443", ":8000", ":0", ":99999", "@", ":p@x", "]", "\\"]),
    st.sampled_from(["", "/", "/v1", "?q", "#f", "/a@b"]),
)


def write(home: Path, text: str) -> Path:
    path = home / "config" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("HTTPS://API.Example.COM", "https://api.example.com"),
        ("https://api.example.com:443/v1/", "https://api.example.com"),
        ("http://box:80", "http://box"),
        ("http://box:443", "http://box:443"),
        ("https://box:80", "https://box:80"),
        ("http://box:", "http://box"),
        ("http://box:08000/v1?x=1#y", "http://box:8000"),
        ("http://box/a@b?c@d", "http://box"),
        ("http://gpu_box-2", "http://gpu_box-2"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]:80/", "http://[::1]"),
        ("http://[2001:DB8::0:1]", "http://[2001:db8::1]"),
        ("http://[::FFFF:7f00:1]", "http://[::ffff:127.0.0.1]"),
        ("http://[fe80::1%eth0]", "http://[fe80::1%eth0]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://XN--BCHER-KVA.example", "https://xn--bcher-kva.example"),
        ("https://bücher。example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_server_has_one_spelling(url: str, origin: str) -> None:
    assert origin_of(url) == origin
    assert origin_of(origin) == origin


def test_a_name_leads_where_the_http_client_goes() -> None:
    # An older standard reads this one as fass.de, which may be somebody else's.
    assert origin_of("https://faß.de") == "https://xn--fa-hia.de"
    assert httpx.URL("https://faß.de").raw_host == b"xn--fa-hia.de"


def test_a_name_with_a_dot_at_its_end_is_another_one() -> None:
    # Without it, a name may be completed to one of the own domain.
    assert origin_of("https://box.") == "https://box." != origin_of("https://box")


@pytest.mark.parametrize(
    "url",
    ["", "box", "box:8000", "//box", "http:", "http:box", "http://", "http:///v1", "http://:80", "http://?x",
     "ftp://box", "ws://box", "file:///etc/passwd", "unix:///run/x.sock",
     "http://box:0", "http://box:65536", "http://box:-1", "http://box:+80", "http://box:8o", "http://box:８０",
     "http://b ox", " http://box", "http://box ", "http://box\n", "http://b\tox", "http://box\x00", "http://bo\u200bx",
     "http://box/\u202ex", "http://box\u00a0", "http://[::1", "http://::1]", "http://[::1]x", "http://[v1.a]",
     "http://[1.2.3.4]", "http://[box]", "http://a%2fb", "http://a,b", "http://a;b", "http://a|b", "http://{x}",
     "http://*", "http://evil.example\\.box", "http://①27.0.0.1", "http://" + "ü" * 70],
)  # fmt: skip
def test_what_is_no_address_is_a_bad_option(url: str) -> None:
    with pytest.raises(BadOptions) as caught:
        origin_of(url)
    assert caught.value.hint
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    "url",
    ["https://user:pa55@box", "https://:pa55@box", "https://pa55@box", "https://user:pa55@box:99999",
     "https://user:pa55@[::1", "ftp://user:pa55@box", "https://user:pa55＠box", "https://user:pa55﹫box",
     "https://user:pa55%40box", "https://box\\@pa55@x", "user:pa55@box"],
)  # fmt: skip
def test_a_password_in_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(BadOptions) as caught:
        origin_of(url)
    assert "pa55" not in str(to_info(caught.value))
    assert "pa55" not in str(caught.value.__cause__)


@given(st.one_of(st.text(max_size=60), ADDRESSES))
def test_any_text_is_one_origin_or_a_bad_option(text: str) -> None:
    try:
        origin = origin_of(text)
    except BadOptions:
        return
    assert origin_of(origin) == origin
    assert is_local(origin) in {True, False}
    assert origin.isascii()


@given(ADDRESSES)
def test_the_http_client_goes_to_the_origin_and_nowhere_else(text: str) -> None:
    try:
        origin = origin_of(text)
        url = httpx.URL(text)
    except (BadOptions, httpx.InvalidURL):
        return
    there, usual = httpx.URL(origin), {"http": 80, "https": 443}[url.scheme]
    assert (url.scheme, url.port or usual, url.userinfo) == (there.scheme, there.port or usual, b"")
    if url.raw_host != there.raw_host:
        assert ipaddress.ip_address(url.host) == ipaddress.ip_address(there.host)


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "http://LOCALHOST:11434/v1", "https://localhost", "http://a.localhost", "http://a.b.localhost",
     "http://127.0.0.1:8000", "http://127.255.3.9", "http://[::1]", "http://[0:0::1]:8000", "http://[::ffff:127.0.0.1]"],
)  # fmt: skip
def test_a_server_on_this_machine_needs_no_word(url: str) -> None:
    assert access(url) == Access(origin_of(url))
    assert is_local(origin_of(url))


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://evillocalhost", "http://localhost.",
     "http://localhost-x", "http://2130706433", "http://0x7f000001", "http://0177.0.0.1", "http://127.1",
     "http://128.0.0.1", "http://0.0.0.0", "http://[::]", "http://[::2]", "http://[::ffff:128.0.0.1]",
     "http://[fe80::1]", "http://192.168.1.1", "http://10.0.0.1", "https://api.example.com:8443/v1?x#y"],
)  # fmt: skip
def test_any_other_server_is_new_until_it_is_confirmed(url: str, home: Path) -> None:
    with pytest.raises(NewOrigin) as caught:
        access(url)
    assert caught.value.detail == origin_of(url)
    assert caught.value.hint.endswith(f"deepseek-tui origins add {origin_of(url)}")
    write(home, f'[origins."{origin_of(url)}"]\n')
    assert access(url) == Access(origin_of(url))


def test_a_key_goes_to_its_own_origin_alone(home: Path) -> None:
    others = ["http://127.0.0.1:8000", "https://127.0.0.1:8001", "https://127.0.0.1", "https://127.0.0.2:8000",
              "https://localhost:8000", "https://[::1]:8000"]  # fmt: skip
    write(home, f'[origins."https://127.0.0.1:8000"]\nkey = "{KEY}"\n')
    assert access("https://127.0.0.1:8000/v1") == Access("https://127.0.0.1:8000", KEY)
    for other in others:
        assert access(other).key == ""
    write(home, f'[origins."https://api.example.com"]\nkey = "{KEY}"\n[origins."https://example.com"]\n')
    assert access("https://API.example.com:443/x").key == KEY
    assert access("https://example.com").key == ""
    for far in ("http://api.example.com", "https://api.example.com:8443", "https://x.api.example.com"):
        with pytest.raises(NewOrigin):
            access(far)


def test_a_key_shows_in_no_representation() -> None:
    for value in (Origin(KEY), Origin(KEY, keyring=True), Access("https://box", KEY)):
        assert KEY not in repr(value)
        assert KEY not in str(value)
        assert "…" in repr(value)
    assert "…" not in repr(Origin()) + repr(Access("https://box"))
    assert repr(Origin(KEY, ca_file="x.pem")).endswith("ca_file='x.pem')")


@pytest.mark.parametrize(
    "text",
    [
        f'[origins."https://box"]\nkey = "{KEY}',
        f'[origins."https://box"]\nkey = ["{KEY}"]\n',
        f'[origins."https://box"]\n"{KEY}" = 1\n',
        f'[origins]\n"{KEY}" = 7\n',
        f'origins = "{KEY}"\n',
        f'[origins."https://box"]\nkey = "{KEY}"\nkeyring = "{KEY}"\n',
        f"x = {'[' * 5000}",
    ],
)
def test_a_broken_file_is_a_bad_option_that_tells_no_key(home: Path, text: str) -> None:
    path = write(home, text)
    with pytest.raises(BadOptions) as caught:
        access("https://box")
    assert str(path) in caught.value.detail
    assert caught.value.hint
    assert KEY not in "".join(traceback.format_exception(caught.value, chain=True))


def test_settings_that_cannot_be_read_are_a_bad_option(home: Path) -> None:
    path = write(home, "")
    path.write_bytes(b'[origins."https://b\xff"]')
    with pytest.raises(BadOptions):
        access("https://box")
    path.unlink()
    path.mkdir()
    with pytest.raises(BadOptions, match="IsADirectoryError"):
        access("http://127.0.0.1")


def test_settings_that_are_too_long_are_a_bad_option_and_not_read_in_part(home: Path) -> None:
    write(home, "# long\n" * 10_000 + '[origins."https://box"]\n')
    with pytest.raises(BadOptions):
        access("https://box")


@pytest.mark.parametrize("text", ["", "theme = 'x'\n", "[origins]\n"])
def test_settings_without_origins_confirm_none(home: Path, text: str) -> None:
    write(home, text)
    with pytest.raises(NewOrigin):
        access("https://box")


def test_a_folder_that_is_no_folder_confirms_none(home: Path) -> None:
    (home / "config").write_text("")
    with pytest.raises(NewOrigin):
        access("https://box")


def test_a_file_from_another_editor_is_read(home: Path) -> None:
    path = write(home, "")
    path.write_bytes(f'[origins."https://box"]\r\nkey = "{KEY}"\r\n'.encode("utf-8-sig"))
    assert access("https://box").key == KEY


def test_certificates_of_ones_own_are_told(home: Path) -> None:
    write(home, '[origins."https://box"]\nca_file = "~/ca.pem"\n')
    assert access("https://box/v1") == Access("https://box", "", "~/ca.pem")


def test_space_around_a_key_is_no_part_of_it(home: Path) -> None:
    write(home, f'[origins."https://box"]\nkey = """\n{KEY} \n"""\n')
    assert access("https://box").key == KEY


@pytest.mark.parametrize("key", ["two words-1", "schlüssel-1", "a\\nb-1", "a\\u0000b-1", "a\\u200bb-1"])
def test_what_can_be_no_key_is_told_before_it_is_sent(home: Path, key: str) -> None:
    write(home, f'[origins."https://box"]\nkey = "{key}"\n')
    with pytest.raises(Unauthorized) as caught:
        access("https://box")
    assert caught.value.hint.endswith("origins add https://box --key")
    assert "-1" not in str(to_info(caught.value))
    assert isinstance(caught.value, BackendError)
    assert origins.config_file().exists()


class Ring(KeyringBackend):
    """A keyring in memory. With `trouble` it raises that instead, with `locked` it waits for somebody to unlock it."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[tuple[str, str], str] = {}
        self.trouble: BaseException | None = None
        self.locked: threading.Event | None = None

    def get_password(self, service: str, username: str) -> str | None:
        self._open()
        return self.keys.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._open()
        self.keys[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._open()
        del self.keys[service, username]

    def _open(self) -> None:
        if self.locked is not None:
            self.locked.wait(20)
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture
def ring(home: Path) -> Iterator[Ring]:
    """The keyring of this test; config.toml says that the key of https://box is in it."""
    write(home, '[origins."https://box"]\nkeyring = true\n')
    before, ring = keyring.get_keyring(), Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def refused(url: str = "https://box") -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        access(url)
    assert caught.value.hint
    return caught.value


def test_a_key_is_taken_from_the_keyring_and_from_its_own_place_there(ring: Ring, home: Path) -> None:
    origins.set_keyring_key("https://box", KEY)
    assert ring.keys == {("deepseek-tui", "https://box"): KEY}
    assert access("https://BOX/v1") == Access("https://box", KEY)
    write(home, '[origins."https://box:8443"]\nkeyring = true\n[origins."https://box"]\n')
    assert "no key for https://box:8443" in refused("https://box:8443").title
    assert access("https://box").key == ""


def test_a_key_that_is_not_in_the_keyring_is_missed(ring: Ring) -> None:
    assert refused().hint == "Enter it again: deepseek-tui origins add https://box --keyring"
    ring.keys["deepseek-tui", "https://box"] = ""
    assert "no key" in refused().title
    ring.keys["deepseek-tui", "https://box"] = "two words"
    assert refused().hint.endswith("--keyring")


def test_a_key_is_taken_out_of_the_keyring_once(ring: Ring) -> None:
    origins.set_keyring_key("https://box", KEY)
    origins.set_keyring_key("https://other", KEY)
    origins.delete_keyring_key("https://box")
    origins.delete_keyring_key("https://box")
    assert list(ring.keys) == [("deepseek-tui", "https://other")]


def test_without_the_package_the_way_to_install_it_is_told(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    error = refused()
    assert "not installed" in error.detail
    assert error.hint == f"{sys.executable} -m pip install 'keyring>=25'"


@pytest.mark.parametrize("trouble", [RuntimeError("no desktop"), keyring.errors.KeyringLocked("no desktop")])
def test_a_keyring_that_fails_is_told(ring: Ring, trouble: Exception) -> None:
    ring.trouble = trouble
    error = refused()
    assert error.detail == f"{type(trouble).__name__}: no desktop"
    assert error.hint.endswith("deepseek-tui origins add https://box --key")
    with pytest.raises(Unauthorized):
        origins.delete_keyring_key("https://box")


def test_a_keyring_that_quotes_the_key_in_its_complaint_does_not_show_it(ring: Ring) -> None:
    ring.trouble = RuntimeError(f"cannot store {KEY!r}")
    with pytest.raises(Unauthorized) as caught:
        origins.set_keyring_key("https://box", KEY)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert "cannot store" in caught.value.detail


def test_a_keyring_that_waits_for_somebody_is_left(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "KEYRING_S", 0.1)
    ring.locked = threading.Event()
    started = time.monotonic()
    error = refused()
    assert 0.1 <= time.monotonic() - started < 2
    assert error.detail == "It did not answer in 0.1 s."
    ring.locked.set()
    ring.keys["deepseek-tui", "https://box"] = KEY
    assert access("https://box").key == KEY
