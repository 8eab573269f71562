"""The way to one origin: past which proxy, with which certificates, and through lines that open in the background."""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.errors import BadOptions
from backends.http.sockets import Sockets
from backends.origins import Access, is_local

if TYPE_CHECKING:
    import httpx


def transport(access: Access, sockets: Sockets) -> httpx.HTTPTransport:
    """Return the transport for an origin. Raises BadOptions for certificates or a proxy that cannot be used."""
    import httpx

    local = is_local(access.origin)
    verify, proxy = _certificates(access), None if local else _proxy(access.origin)
    try:
        made = httpx.HTTPTransport(verify=verify, trust_env=not local, proxy=proxy)
    except ImportError as error:
        raise _bad_proxy(access, "It speaks SOCKS, and the package socksio is not installed.") from error
    except (ValueError, httpx.InvalidURL):
        raise _bad_proxy(access, "Its address cannot be read.") from None  # which may hold a password
    pool: Any = made._pool  # noqa: SLF001 - httpx passes no network on
    pool._network_backend = _Network(pool._network_backend, sockets)  # noqa: SLF001
    return made


class _Network:
    """The network as the pool knows it, but for connections, which can be given up while they open."""

    def __init__(self, network: Any, sockets: Sockets) -> None:
        self._network = network
        self._sockets = sockets

    def connect_tcp(self, *args: Any, **kwargs: Any) -> Any:
        return self._sockets.opened(lambda: self._network.connect_tcp(*args, **kwargs))

    def sleep(self, seconds: float) -> None:
        self._network.sleep(seconds)


def _proxy(origin: str) -> str | None:
    """Return the proxy that the environment names for a server that is not on this machine."""
    scheme, _, place = origin.partition("://")
    found = urllib.request.getproxies()
    if urllib.request.proxy_bypass(place):
        return None
    proxy = found.get(scheme) or found.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _bad_proxy(access: Access, why: str) -> BadOptions:
    return BadOptions(
        f"The proxy for {access.origin} cannot be used",
        why,
        "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name it; NO_PROXY names servers that need none.",
    )


def _certificates(access: Access) -> ssl.SSLContext | bool:
    """Return what servers are verified with."""
    if not access.ca_file:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(Path(access.ca_file).expanduser())
    except (OSError, ValueError, RuntimeError) as error:  # a folder of nobody's is a RuntimeError
        raise BadOptions(
            "The certificates for a server cannot be read",
            f"{access.ca_file}, for {access.origin}: {error}",
            "`ca_file` in config.toml must name a PEM file.",
        ) from error
    return context
