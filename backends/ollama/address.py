"""Where the Ollama server is, and how we may talk to it."""

from __future__ import annotations

import ipaddress
import os
import urllib.parse

import msgspec

from backends.errors import BadOptions, NewOrigin
from backends.origins import Access, access, origin_of

_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}


class Address(msgspec.Struct, frozen=True):
    """A server's base URL. `chosen` says that the user named it, not a preset: it needs no confirmation."""

    url: str
    chosen: bool

    @property
    def shown(self) -> str:
        """The server as people call it: host and port."""
        return self.url.partition("://")[2]


def find(host: str) -> Address:
    """Return the server that a preset's `host` names, by default the one of OLLAMA_HOST. Raises BadOptions."""
    return (
        Address(base_url(host), False) if host.strip() else Address(base_url(os.environ.get("OLLAMA_HOST", "")), True)
    )


def base_url(host: str) -> str:
    """Return the base URL for what may stand in OLLAMA_HOST, read as the client library reads it.

    An address to listen on at every interface is one of this machine. Raises BadOptions.
    """
    text = host.strip()
    scheme, _, rest = text.partition("://")
    if not rest:
        scheme, rest, port = "http", text, _PORT
    else:
        scheme = scheme.lower()
        port = _SCHEME_PORTS.get(scheme, 0)
    try:
        parts = urllib.parse.urlsplit(f"{scheme}://{rest}")
        name, port = parts.hostname or "127.0.0.1", parts.port or port
    except ValueError:
        raise _bad(host) from None  # its words may hold a password
    if not port or parts.username is not None or parts.query or parts.fragment or any(c.isspace() for c in rest):
        raise _bad(host)
    try:
        number = ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        if number.is_unspecified:
            name = "127.0.0.1" if number.version == 4 else "::1"
        name = f"[{name}]" if ":" in name else name
    path = parts.path.strip("/")
    return f"{scheme}://{name}:{port}" + (f"/{path}" if path else "")


def allowed(address: Address) -> Access:
    """Return key and certificates for a server. Raises NewOrigin for one that only a preset names, Unauthorized."""
    try:
        return access(address.url)
    except NewOrigin:
        if not address.chosen:
            raise
        return Access(origin_of(address.url))


def _bad(host: str) -> BadOptions:
    return BadOptions(
        "This is no address of an Ollama server",
        "It holds a name and a password." if "@" in host else f"{host[:200]!r}",
        'Write `host = "http://NAME:11434"`, or leave it out for this machine.',
    )
