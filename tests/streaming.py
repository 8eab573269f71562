"""A loopback server that streams small chunks at a given rate, and a question through our own stack to it.

The server is a process of its own, so that its work is not counted as ours. Used by a test and by a benchmark.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from backends import paths
from backends.base import ChatRequest, Message
from backends.events import Done, Text
from backends.host.client import HostClient
from backends.host.wire import Failed, HostSpec
from backends.version import build_id
from tui.chat import turn

MODEL = "words"


class Stream(msgspec.Struct, frozen=True):
    """One streamed answer as it arrived: its text and chunk count, the wait for its first text, and who worked.

    CPU seconds are those of this process and of the host's, from the question to the last record.
    """

    text: str
    tokens: int | None
    first_s: float
    whole_s: float
    client_cpu_s: float
    host_cpu_s: float

    @property
    def cores(self) -> float:
        return (self.client_cpu_s + self.host_cpu_s) / self.whole_s


def expected(chunks: int) -> str:
    """Return the text that the server streams in so many chunks."""
    return "".join(word(number) for number in range(chunks))


def word(number: int) -> str:
    """Return the text of one chunk: a few characters, some of them of several bytes, no two alike."""
    return f"w{number}é "


@contextlib.contextmanager
def server(chunks: int, rate: float) -> Iterator[str]:
    """Run a server that answers every question with `chunks` chunks, `rate` of them a second; give its base URL."""
    with serving([word(number) for number in range(chunks)], rate) as (url, _stamps):
        yield url


@contextlib.contextmanager
def serving(pieces: Sequence[str], rate: float) -> Iterator[tuple[str, Path]]:
    """Run a server that answers with these pieces, `rate` a second; give its base URL, and where its times are.

    That file gets a line for every answer: when its first and its last piece went out, by the monotonic clock.
    """
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        script, stamps = Path(folder) / "pieces", Path(folder) / "stamps"
        script.write_text(json.dumps(list(pieces)))
        probe.close()
        command = [sys.executable, "-m", "tests.streaming", str(port), str(script), str(rate), str(stamps)]
        child = subprocess.Popen(command, cwd=Path(__file__).resolve().parent.parent)
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, "the server did not start"
                    time.sleep(0.02)
            yield f"http://127.0.0.1:{port}/v1", stamps
        finally:
            child.kill()
            child.wait()


def write_preset(base_url: str) -> None:
    """Write a preset of the name "stream" for a server into the home folder of the environment."""
    folder = paths.user_presets()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stream.toml").write_text(
        'title = "Stream"\nbackend = "openai"\nkeep_alive_s = 0.5\n[model]\nfamily = "words"\nquantization = "none"\n'
        f'[backends.openai]\nsource = "server:{MODEL}"\nbase_url = "{base_url}"\ncontext = 1048576\n'
    )


async def connected(base_url: str) -> HostClient:
    """Return a connection to a host of the OpenAI-compatible backend for the server, its model loaded."""
    options = {"base_url": base_url, "context": 1 << 20}
    spec = HostSpec("openai", MODEL, options, "stream", build_id(), keep_alive_s=0.5)
    client = await turn.obtain(spec, lambda step: None)
    await client.loaded()
    return client


async def ask(client: HostClient, answer: str) -> Stream:
    """Ask through the host and read the answer to its end. Raises AssertionError if it failed."""
    pid = client.welcome.pid
    host_before, own_before, started = cpu_s(pid), time.process_time(), time.perf_counter()
    pieces: list[str] = []
    first_s, done = 0.0, None
    async for record in client.chat(answer, ChatRequest((Message("user", "go"),)), None):
        match record.event:
            case Text(text=text) if text:
                first_s = first_s or time.perf_counter() - started
                pieces.append(text)
            case Done() as end:
                done = end
            case Failed(error=error):
                raise AssertionError(error)
    whole_s = time.perf_counter() - started
    assert done is not None
    return Stream(
        "".join(pieces),
        done.usage.output_tokens,
        first_s,
        whole_s,
        time.process_time() - own_before,
        cpu_s(pid) - host_before,
    )


def on_screen(base_url: str, chunks: int, width: int = 120, height: int = 34) -> tuple[str, float]:
    """Ask in a real terminal; return the stored answer, and how many cores the screen and its host used meanwhile.

    The home folder is that of the environment, and must have no chats yet.
    """
    import pexpect

    write_preset(base_url)
    command = ["-P", "-m", "tui", "-p", "stream"]
    screen = pexpect.spawn(sys.executable, command, dimensions=(height, width), encoding="utf-8", timeout=60)
    screen.expect("Stream · ")
    screen.send("go\r")
    screen.expect(r"w\d+é")  # Not the first: a machine that is busy shows the first of it when that is out of sight.
    host = next(int(lock.read_text()) for lock in paths.hosts().glob("*/lock"))
    before, started = cpu_s(screen.pid) + cpu_s(host), time.perf_counter()
    screen.expect("saved")
    cores = (cpu_s(screen.pid) + cpu_s(host) - before) / (time.perf_counter() - started)
    screen.send("\x11")
    screen.expect(pexpect.EOF)
    screen.close()
    with contextlib.closing(sqlite3.connect(paths.database())) as database:
        (text,) = database.execute("SELECT text FROM message WHERE role = 'assistant'").fetchone()
    return text, cores


def direct_first_s(base_url: str) -> float:
    """Return the wait for the first text of a plain HTTP client that does nothing else."""
    import httpx

    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "go"}]}
    with httpx.Client(trust_env=False) as client:
        client.get(f"{base_url}/models").read()  # Its line is open, like ours.
        started = time.perf_counter()
        with client.stream("POST", f"{base_url}/chat/completions", json=body) as response:
            for line in response.iter_lines():
                if '"content"' in line and word(0) in json.loads(line.removeprefix("data: "))["choices"][0][
                    "delta"
                ].get("content", ""):
                    return time.perf_counter() - started
    raise AssertionError("no text came")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, its kernel time included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _serve(port: int, pieces: Sequence[str], rate: float, stamps: Path) -> None:
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            body = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}).encode()
            self.send_response(200 if self.path.endswith("/models") else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            with contextlib.suppress(OSError):  # Who only waits for the first text leaves before the end.
                self._answer()

        def _answer(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            started, times = time.perf_counter(), list[float]()
            for number, piece in enumerate(pieces):
                wait_s = started + number / rate - time.perf_counter()
                if wait_s > 0:
                    time.sleep(wait_s)
                self._event({"content": piece})
                times.append(time.monotonic())
            with stamps.open("a") as file:
                file.write(f"{times[0]} {times[-1]}\n")
            self._event({}, "stop", {"prompt_tokens": 3, "completion_tokens": len(pieces) + 1})
            self._chunk(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")

        def _event(self, delta: dict[str, str], finish: str | None = None, usage: dict[str, int] | None = None) -> None:
            event = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": MODEL,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
                "usage": usage,
            }
            self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that leaves is no error."""

    Server(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), float(sys.argv[3]), Path(sys.argv[4]))
