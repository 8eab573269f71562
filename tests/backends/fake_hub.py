"""A Hugging Face of our own on the loopback: repositories of files that it serves in parts, itself or from a store."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from tests.backends.fake_server import FakeServer, StreamHandler

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "a1" * 32
SIGNATURE = "very%2Fsecret%3D"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class FakeHub(FakeServer):
    """`files` are served by OWNER/REPO/FILE. With a `store`, the root of another server, it sends there.

    `sent` counts the bytes of files that went out, `parts` the (offset, length) of each request for a part, `lines` the
    connections.
    """

    def __init__(self, store: str = "", **options: object) -> None:
        super().__init__(HubHandler, **options)  # type: ignore[arg-type]
        self.files: dict[str, Path] = {}
        self.store = store
        self.sent = self.lines = 0
        self.parts: list[tuple[int, int]] = []

    def add(self, file: Path, repo: str = "me/some", folder: str = "") -> Path:
        self.files[f"{repo}/{folder}{file.name}"] = file
        return file

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class HubHandler(StreamHandler):
    """Answers as the hub does: names commit and hash, and serves what was asked for and no more."""

    fake: FakeHub

    def setup(self) -> None:
        super().setup()
        self.fake.lines += 1

    def answer(self, body: object) -> None:
        path = urlsplit(self.path).path.lstrip("/")
        stored = path.startswith("store/")
        name = unquote(path.removeprefix("store/") if stored else re.sub(r"/resolve/[^/]+/", "/", path, count=1))
        file = self.fake.files.get(name)
        if file is None:
            missing = {"X_Error_Code": "EntryNotFound", "X_Error_Message": "Entry not found"}
            self.reply(404, b"Entry not found", "text/plain", **missing)
        elif self.fake.store and not stored:
            location = f"{self.fake.store}/store/{quote(name)}?signature={SIGNATURE}"
            self.reply(302, b"Found", "text/plain", **self.facts(), Location=location)
        else:
            self.part(file, **({} if stored else self.facts()))

    def facts(self) -> dict[str, str]:
        return {"X_Repo_Commit": COMMIT, "X_Linked_Etag": f'"{SHA256}"'}

    def part(self, file: Path, **headers: str) -> None:
        found = _RANGE.fullmatch(self.headers["range"])
        assert found, self.headers["range"]
        first, last = int(found[1]), int(found[2])
        size = file.stat().st_size
        if first >= size:
            self.reply(416, b"", **headers, Content_Range=f"bytes */{size}")
            return
        with file.open("rb") as opened:
            opened.seek(first)
            data = opened.read(last - first + 1)
        self.fake.parts.append((first, last - first + 1))
        self.fake.sent += len(data)
        place = f"bytes {first}-{first + len(data) - 1}/{size}"
        self.reply(206, data, "application/octet-stream", **{"ETag": '"one"'} | headers, Content_Range=place)


def go_online(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let a test fetch from its own hub, whatever proxies the person who runs it has."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        patch.delenv(name)
    patch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    patch.delenv("HF_HUB_OFFLINE")
    patch.setenv("HF_ENDPOINT", endpoint)
