"""A file of Hugging Face as bytes by offset, each piece a request of its own over one kept connection."""

from __future__ import annotations

from backends.gguf.source import FIRST_CHUNK
from backends.hub import failures
from backends.hub.address import HubFile, file_url
from backends.hub.connection import Connection


class RemoteFile:
    """A file that is not here. Its beginning is read at once: that tells its size, and where the hub keeps it.

    `commit` and `sha256` are what the hub says of it, "" where nothing. Raises what `Connection.part` raises.
    """

    def __init__(self, connection: Connection, server: str, file: HubFile) -> None:
        self._connection = connection
        self._file = file
        self._server = server.partition("://")[2]
        first = connection.part(file, file_url(file, server), 0, FIRST_CHUNK)
        self._beginning, self._url, self._etag = first.data, first.url, first.etag
        self.size, self.commit, self.sha256 = first.size, first.commit, first.sha256

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only where the file ends. Raises BackendError, Cancelled."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        if offset + length <= len(self._beginning):
            return self._beginning[offset : offset + length]
        piece = self._connection.part(self._file, self._url, offset, length)
        if piece.size != self.size or piece.etag != self._etag:
            raise failures.nonsense(self._file, self._server, "the file changed while it was read.")
        return piece.data
