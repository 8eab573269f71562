"""One file from the hub to the disk: gone on with where it was, begun anew where it changed, verified at its end.

The transfer is our own, over the connection that also reads headers. huggingface_hub throws away what a killed
download has left, checks no hash and warns at most of a full disk; it would send the token to a mirror.
"""

from __future__ import annotations

from backends.base import Cancel, Cancelled
from backends.errors import BackendError
from backends.hub import failures
from backends.hub.address import file_url
from backends.hub.checksum import Follower
from backends.hub.connection import Connection, Sending
from backends.hub.listing import Entry
from backends.hub.part import Part
from backends.hub.patience import Patience
from backends.jobs.report import Report

_MAGIC = b"GGUF"


class Download:
    """Fetches the files of one model, one after the other. `before` bytes of it are here when a file begins."""

    def __init__(self, connection: Connection, server: str, patience: Patience, report: Report, cancel: Cancel) -> None:
        self._connection, self._server, self._patience = connection, server, patience
        self._report, self._cancel = report, cancel

    def fetch(self, entry: Entry, part: Part, before: int) -> None:
        """Fetch what is missing of a file, verify it, and see it safe on the disk. It has no name yet.

        Raises BackendError, and Cancelled; what is here stays, unless it is wrong.
        """
        self._report.jump(before + part.size)
        if part.checked:
            return
        with _Checked(part) as checked:
            restarts = 0
            while part.size < entry.identity.size:
                self._report.stage("fetching", entry.place.name)
                try:
                    with self._connection.sending(entry.file, file_url(entry.file, self._server), part.size) as sending:
                        self._check(entry, sending)
                        if sending.offset != part.size:
                            checked.restart()
                            self._report.jump(before)
                        self._take(entry, sending, checked, before)
                except BackendError as error:
                    if self._connection.bad_range and part.size and not restarts:
                        restarts += 1  # it does not go on from there, whatever it said before
                        checked.restart()
                        self._report.jump(before)
                        continue
                    self._patience.pause(error)
            self._report.stage("checking", entry.place.name)
            found = checked.result(self._cancel)
        algorithm, told = entry.identity.hashed
        if algorithm and found != told:
            part.discard()
            raise failures.wrong_content(entry.file, told, found)
        part.check()

    def _take(self, entry: Entry, sending: Sending, checked: _Checked, before: int) -> None:
        part, model = checked.part, entry.place.suffix == ".gguf"
        for chunk in sending.chunks:
            part.write(chunk)
            if model and not part.begins_with(_MAGIC):
                part.discard()
                raise failures.no_model(entry.file, self._server.partition("://")[2])
            model = model and part.size < len(_MAGIC)
            self._report.at(before + part.size)
            if checked.reached():
                self._patience.progressed()
            if self._cancel.is_set():
                raise Cancelled

    def _check(self, entry: Entry, sending: Sending) -> None:
        """Raise ServerError if it is no longer the file that was announced."""
        now, told = sending, entry.identity
        changed = now.size != told.size or (now.sha256 and told.sha256 and now.sha256 != told.sha256)
        if not told.hashed[0]:
            changed = changed or (now.etag and told.etag and now.etag != told.etag)
        if changed:
            server = self._server.partition("://")[2]
            raise failures.nonsense(entry.file, server, "the file is another than a moment ago.")


class _Checked:
    """A part, and who follows its writer, inside a `with` block."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._furthest = part.size
        self._follower = self._follow()

    def __enter__(self) -> _Checked:
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.leave()

    def reached(self) -> bool:
        """Say whether there is more than there ever was: what comes again after a restart is no progress.

        Raises BackendError where the disk fails.
        """
        try:
            self._follower.reached(self.part.size)
        except OSError as error:
            raise failures.folder_refuses(error, self.part.path) from error
        further = self.part.size > self._furthest
        self._furthest = max(self._furthest, self.part.size)
        return further

    def restart(self) -> None:
        self._follower.leave()
        self.part.restart()
        self._follower = self._follow()

    def result(self, cancel: Cancel) -> str:
        """Wait for the hash of the whole file. Raises BackendError, and Cancelled."""
        try:
            return self._follower.result(self.part.identity.size, cancel)
        except OSError as error:
            raise failures.folder_refuses(error, self.part.path) from error

    def _follow(self) -> Follower:
        identity = self.part.identity
        try:
            follower = Follower(self.part.path, identity.hashed[0], identity.head)
        except OSError as error:
            raise failures.folder_refuses(error, self.part.path) from error
        follower.reached(self.part.size)
        return follower
