"""Which servers the user has confirmed, and the keys that belong to them: the [origins] table of config.toml.

An origin is "https://host[:port]". A preset names neither key nor variable: it can come from anybody, and a key goes to
nobody but the origin that it was entered for.
"""

from __future__ import annotations

import re
import threading
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from backends import paths
from backends.base import Place
from backends.errors import BadOptions, NewOrigin, Unauthorized
from backends.packages import install_command

SERVICE = "deepseek-tui"
"""Under this name keys are in the system's keyring, the origin as the user."""
KEYRING_S = 10.0
_PORTS = {"http": 80, "https": 443}
_MAX_BYTES = 64 * 1024
_NAME = re.compile(r"[a-z0-9._-]+")
_IN_BRACKETS = re.compile(r"\[[^][]+](?::\d*)?")


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One confirmed server. `keyring` says that the key is in the system's keyring; `ca_file` adds certificates."""

    key: str = ""
    keyring: bool = False
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Origin(key={'…' if self.key else ''!r}, keyring={self.keyring}, ca_file={self.ca_file!r})"


class Access(msgspec.Struct, frozen=True):
    """How to reach one origin. `key` is "" where there is none, `ca_file` is "" or a path."""

    origin: str
    key: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Access({self.origin!r}, key={'…' if self.key else ''!r}, ca_file={self.ca_file!r})"


def config_file() -> Path:
    """Where the settings are kept, this table among them."""
    return paths.config() / "config.toml"


def origin_of(url: str) -> str:
    """Return the origin of a web address in its one spelling. Raises BadOptions."""
    from urllib.parse import urlsplit  # Not at the top: the settings are read before the first frame.

    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), _host(parts.netloc, parts.hostname or ""), parts.port
    except ValueError:
        raise _not_an_address(url) from None  # its words may hold a password
    readable = url.isprintable() and not any(character.isspace() for character in url)
    if scheme not in _PORTS or not readable or parts.username is not None or port == 0:
        raise _not_an_address(url)
    return f"{scheme}://{host}" if port in {None, _PORTS[scheme]} else f"{scheme}://{host}:{port}"


def _host(netloc: str, name: str) -> str:
    """Return a host in its one spelling, an IPv6 address in brackets. Raises ValueError."""
    if "[" in netloc:
        import ipaddress

        if not name.isascii() or not _IN_BRACKETS.fullmatch(netloc):
            raise ValueError
        number = ipaddress.IPv6Address(name)
        # Not all versions of Python spell these alike.
        return f"[::ffff:{number.ipv4_mapped}]" if number.ipv4_mapped else f"[{number}]"
    if not name.isascii():
        import idna  # As the HTTP client does it: Python's own knows an older standard, where names lead elsewhere.

        name = idna.encode(name).decode()
    if not _NAME.fullmatch(name):
        raise ValueError
    return name


def is_local(origin: str) -> bool:
    """Say whether an origin is on this machine."""
    import ipaddress
    from urllib.parse import urlsplit

    host = (urlsplit(origin).hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = number.ipv4_mapped if number.version == 6 else None
    return (mapped or number).is_loopback


def place_of(origin: str) -> Place:
    """Return whose energy the answers of a server take. What is behind a tunnel looks like this machine."""
    return "machine" if is_local(origin) else "elsewhere"


def access(url: str) -> Access:
    """Return how to reach the server of a web address.

    One on this machine needs no confirmation. Raises NewOrigin for any other that the user has not confirmed yet,
    Unauthorized if its key should be in the keyring and cannot be had or can be none, BadOptions for no web address or
    settings that cannot be read.
    """
    origin = origin_of(url)
    known = _known().get(origin)
    if known is None:
        if not is_local(origin):
            raise NewOrigin(
                "This server is new",
                origin,
                f"Your conversations would be sent there. Allow it with: deepseek-tui origins add {origin}",
            )
        known = Origin()
    key = (keyring_key(origin) if known.keyring else known.key).strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        # Who sends it would quote it in its complaint.
        raise Unauthorized(
            f"The key for {origin} is none",
            "A key is one word of letters, digits and signs.",
            f"Enter it again: deepseek-tui origins add {origin} {'--keyring' if known.keyring else '--key'}",
        )
    return Access(origin, key, known.ca_file)


def keyring_key(origin: str) -> str:
    """Return the key that the system's keyring has for an origin. Raises Unauthorized."""
    key = _in_keyring(origin, lambda keyring: keyring.get_password(SERVICE, origin))
    if not key:
        raise Unauthorized(
            f"The keyring has no key for {origin}",
            "config.toml says that it is there.",
            f"Enter it again: deepseek-tui origins add {origin} --keyring",
        )
    return str(key)


def set_keyring_key(origin: str, key: str) -> None:
    """Put an origin's key into the system's keyring. Raises Unauthorized."""
    _in_keyring(origin, lambda keyring: keyring.set_password(SERVICE, origin, key), key)


def delete_keyring_key(origin: str) -> None:
    """Take an origin's key out of the system's keyring, if it is there. Raises Unauthorized."""

    def delete(keyring: Any) -> None:
        if keyring.get_password(SERVICE, origin) is not None:
            keyring.delete_password(SERVICE, origin)

    _in_keyring(origin, delete)


def _in_keyring(origin: str, work: Any, secret: str = "") -> Any:
    """Work with the keyring, but not for ever: without a desktop it may wait for somebody to unlock it.

    Raises Unauthorized, without `secret` in its words.
    """
    found: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            import keyring

            found.append(work(keyring))
        except BaseException as error:  # noqa: BLE001 - a keyring may raise whatever its desktop does
            failed.append(error)

    thread = threading.Thread(target=run, name="keyring", daemon=True)
    thread.start()
    thread.join(KEYRING_S)
    if found:
        return found[0]
    if failed and isinstance(failed[0], ImportError):
        why, hint = "The package keyring is not installed.", install_command("keyring>=25")
    else:
        why = f"{type(failed[0]).__name__}: {failed[0]}" if failed else f"It did not answer in {KEYRING_S:g} s."
        why = why.replace(secret, "…") if secret else why
        hint = f"Unlock it, or keep the key in config.toml: deepseek-tui origins add {origin} --key"
    raise Unauthorized(f"The keyring cannot be used for {origin}", why, hint)


def _known() -> dict[str, Origin]:
    """Return the confirmed origins. Raises BadOptions."""
    path = config_file()
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError
        text = content.decode("utf-8-sig")
        table = tomllib.loads(text.replace("\r\n", "\n")).get("origins", {})
        return msgspec.convert(table, dict[str, Origin])
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        # What the file says may hold a key: only the kind of trouble is told.
        raise BadOptions(
            "The settings cannot be used",
            f"{path}: the [origins] table cannot be read ({type(error).__name__})",
            "`deepseek-tui doctor` names the line.",
        ) from None


def _not_an_address(url: str) -> BadOptions:
    import unicodedata
    from urllib.parse import unquote

    hidden = "@" in unicodedata.normalize("NFKC", unquote(url))  # What stands before it may be a password.
    shown = url if url.isprintable() and not hidden else "it"
    return BadOptions("Not a server's address", f"{shown[:200]!r}", "Write it like https://api.example.com/v1.")
