"""A Hugging Face of our own on the loopback: repositories of files that it serves in parts, itself or from a store."""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

import pytest

from tests.backends.fake_server import FakeServer, StreamHandler

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "a1" * 32
SIGNATURE = "very%2Fsecret%3D"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_API = re.compile(r"api/models/([^/]+/[^/]+)/revision/([^/]+)")
_CHUNK = 64 * 1024


class FakeHub(FakeServer):
    """`files` are served by OWNER/REPO/FILE. With a `store`, the root of another server, it sends there.

    `sent` counts the bytes of files that went out, `parts` the (offset, length) of each request for a part, `lines` the
    connections. `hashes` are what it says of a file instead of the constant SHA256; "" is nothing.
    `bytes_per_s` limits how fast each file is sent; after `breaks_after` bytes of one the line breaks.
    """

    def __init__(self, store: str = "", **options: object) -> None:
        super().__init__(HubHandler, **options)  # type: ignore[arg-type]
        self.files: dict[str, Path] = {}
        self.store = store
        self.sent = self.lines = 0
        self.parts: list[tuple[int, int]] = []
        self.hashes: dict[str, str] = {}
        self.bytes_per_s: float | None = None
        self.breaks_after: int | None = None
        self.commit = COMMIT

    def add(self, file: Path, repo: str = "me/some", folder: str = "") -> Path:
        self.files[f"{repo}/{folder}{file.name}"] = file
        return file

    def publish(self, name: str, content: bytes, folder: Path, repo: str = "me/some") -> Path:
        """Put a file into a repository as a publisher does, with its true hash; return where it is kept."""
        file = folder / "published" / repo / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.files[f"{repo}/{name}"] = file
        self.hashes[f"{repo}/{name}"] = hashlib.sha256(content).hexdigest()
        return file

    def listing(self, repo: str) -> dict[str, Any]:
        """Return what the hub's API says of a repository: large files by their sha256, small ones by git's name."""
        siblings = []
        for name, file in sorted(self.files.items()):
            if name.startswith(f"{repo}/"):
                data = file.read_bytes()
                blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
                sibling: dict[str, Any] = {"rfilename": name.removeprefix(f"{repo}/"), "size": len(data)}
                if name.endswith((".safetensors", ".gguf")):
                    sibling["blobId"] = "f" * 40
                    sibling["lfs"] = {"sha256": self.hashes[name], "size": len(data), "pointerSize": 134}
                else:
                    sibling["blobId"] = blob
                siblings.append(sibling)
        return {"id": repo, "sha": self.commit, "siblings": siblings}

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
        if found := _API.fullmatch(path):
            self.reply(200, self.fake.listing(unquote(found[1])))
            return
        stored = path.startswith("store/")
        name = unquote(path.removeprefix("store/") if stored else re.sub(r"/resolve/[^/]+/", "/", path, count=1))
        file = self.fake.files.get(name)
        if file is None:
            missing = {"X_Error_Code": "EntryNotFound", "X_Error_Message": "Entry not found"}
            self.reply(404, b"Entry not found", "text/plain", **missing)
        elif self.fake.store and not stored:
            location = f"{self.fake.store}/store/{quote(name)}?signature={SIGNATURE}"
            self.reply(302, b"Found", "text/plain", **self.facts(name), Location=location)
        else:
            self.part(file, **({} if stored else self.facts(name)))

    def facts(self, name: str = "") -> dict[str, str]:
        sha256 = self.fake.hashes.get(name, SHA256)
        return {"X_Repo_Commit": self.fake.commit} | ({"X_Linked_Etag": f'"{sha256}"'} if sha256 else {})

    def part(self, file: Path, **headers: str) -> None:
        found = _RANGE.fullmatch(self.headers["range"])
        assert found, self.headers["range"]
        size = file.stat().st_size
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if first >= size:
            self.reply(416, b"", **headers, Content_Range=f"bytes */{size}")
            return
        length = last - first + 1
        self.fake.parts.append((first, length))
        place = f"bytes {first}-{last}/{size}"
        self.send_response(206)
        told = {"Content-Type": "application/octet-stream", "Content-Length": str(length), "ETag": '"one"'}
        for name, value in {**told, **headers, "Content-Range": place}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with file.open("rb") as opened:
            opened.seek(first)
            self.pour(opened, length)

    def pour(self, opened: BinaryIO, length: int) -> None:
        """Send so many bytes, as fast and as far as this server does."""
        began, sent, rate = time.monotonic(), 0, self.fake.bytes_per_s
        while sent < length:
            if self.fake.breaks_after is not None and sent >= self.fake.breaks_after:
                self.die()
                return
            chunk = opened.read(min(_CHUNK if rate is None else min(_CHUNK, int(rate / 50) or 1), length - sent))
            self.wfile.write(chunk)
            sent += len(chunk)
            self.fake.sent += len(chunk)
            if rate is not None and (ahead := sent / rate - (time.monotonic() - began)) > 0:
                self.wait(ahead)


def go_online(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let a test fetch from its own hub, whatever proxies the person who runs it has."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        patch.delenv(name)
    patch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    patch.delenv("HF_HUB_OFFLINE")
    patch.setenv("HF_ENDPOINT", endpoint)
