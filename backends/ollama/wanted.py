"""What a server of Ollama's is told to fetch: a value of its own, which names the job that does it."""

from __future__ import annotations

import msgspec

from backends.ollama import address
from backends.ollama.connection import full_name

KIND = "ollama_pull"
PATIENCE_S = 600.0


class OllamaPull(msgspec.Struct, frozen=True):
    """A model of Ollama's library, and the server that is to have it.

    `url` is the server's base URL; `chosen` says that the user named it, not a preset. `patience_s` is how long a line
    that breaks is tried again.
    """

    url: str
    tag: str
    chosen: bool = False
    patience_s: float = PATIENCE_S

    @property
    def target(self) -> str:
        """What there is one job for: a model at a server, however it is written."""
        return f"{self.url}/{full_name(self.tag)}"

    @property
    def server(self) -> str:
        """The server as people call it: host and port."""
        return self.where.shown

    @property
    def where(self) -> address.Address:
        return address.Address(self.url, self.chosen)


def wanted(tag: str, host: str = "") -> OllamaPull:
    """Return what is to be fetched for a preset's tag, with the preset's `host`. Raises BadOptions."""
    where = address.find(host)
    return OllamaPull(where.url, tag, where.chosen)
