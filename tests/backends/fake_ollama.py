"""A server on the loopback that speaks Ollama's protocol, with scripted models and every way to go wrong.

It counts words as tokens, keeps what it was asked, and notices when a client leaves.
"""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = re.compile(r"\s*\S+|\s+")
_RAW = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)

GO_OPEN = """{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}
{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}{{- if and $last (ne .Role "assistant") }}<|im_end|>
<|im_start|>assistant
{{ end }}{{- end }}"""
GO_CLOSED = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
GO_THINK = GO_OPEN.replace("<|im_start|>assistant\n{{ end }}", "<|im_start|>assistant\n<think>\n{{ end }}")
JINJA = """{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@dataclass
class FakeModel:
    """A model: what `show` tells of it, and what it says. `mind` gives its whole output, tags included."""

    mind: Callable[[str], str] = lambda question: f"You said: {question} And that is all there is to it, I believe."
    template: str = GO_OPEN
    capabilities: tuple[str, ...] = ("completion",)
    trained: int = 8192
    parameters: str = 'stop                           "<|im_end|>"'
    modelfile: str = "FROM x"
    size: int = 1_000_000


@dataclass
class InMemory:
    context: int
    vram: int
    keep_alive: Any = None
    shift: bool = True
    options: dict[str, Any] = field(default_factory=dict)


class FakeOllama:
    """The server. Change its fields at any time; `fault` may answer a request instead of it, and then returns True."""

    def __init__(self, port: int = 0, version: str = "0.33.0") -> None:
        self.models: dict[str, FakeModel] = {}
        self.loaded: dict[str, InMemory] = {}
        self.version = version
        self.token_s = self.prefill_s = self.load_s = 0.0
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.left: list[str] = []
        self.fault: Callable[[Handler, str, dict[str, Any]], bool] = lambda *_: False
        outer = self

        class Bound(Handler):
            fake = outer

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A client that leaves is what tests do."""

        self._server = Quiet(("127.0.0.1", port), Bound)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FakeOllama:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What was asked at `path`, oldest first."""
        return [body for where, body in list(self.asked) if where == path]

    def chats(self) -> list[dict[str, Any]]:
        """The chats that were not there to load or unload."""
        return [body for body in self.bodies("/api/chat") if body.get("messages")]


class Handler(BaseHTTPRequestHandler):
    fake: FakeOllama
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    def log_message(self, *_: object) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(size) or b"{}")
        self.fake.asked.append((self.path, body))
        self.fake.headers.append({name.lower(): value for name, value in self.headers.items()})
        try:
            if not self.fake.fault(self, self.path, body):
                self._answer(body)
        except (BrokenPipeError, ConnectionResetError):
            self.fake.left.append(self.path)
            self.close_connection = True

    def _answer(self, body: dict[str, Any]) -> None:
        fake = self.fake
        match self.path:
            case "/api/version":
                return self.reply(200, {"version": fake.version})
            case "/api/ps":
                return self.reply(200, {"models": [self._listed(name) for name in list(fake.loaded)]})
            case "/api/show" | "/api/chat" | "/api/generate":
                name = body["model"] if ":" in body["model"] else body["model"] + ":latest"
                model = fake.models.get(name)
                if model is None:
                    return self.reply(404, {"error": f"model '{body['model']}' not found"})
                if self.path == "/api/show":
                    return self.reply(200, self._shown(model))
                return self._run(name, model, body)
            case _:
                return self.reply(404, "404 page not found", "text/plain")

    def _listed(self, name: str) -> dict[str, Any]:
        found, model = self.fake.loaded[name], self.fake.models[name]
        return {
            "name": name, "model": name, "size": model.size, "digest": "d", "details": {}, "size_vram": found.vram,
            "expires_at": "2030-01-01T00:00:00Z", "context_length": found.context,
        }  # fmt: skip

    def _shown(self, model: FakeModel) -> dict[str, Any]:
        facts = {"general.architecture": "llama", "llama.context_length": model.trained, "llama.block_count": 30}
        return {
            "template": model.template, "parameters": model.parameters, "modelfile": model.modelfile, "details": {},
            "model_info": facts, "capabilities": list(model.capabilities), "modified_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip

    def _run(self, name: str, model: FakeModel, body: dict[str, Any]) -> None:
        fake, empty = self.fake, not body.get("messages") and not body.get("prompt")
        if empty and body.get("keep_alive") == 0:
            fake.loaded.pop(name, None)
            return self.reply(200, {"model": name, "done": True, "done_reason": "unload"})
        if body.get("think") and "thinking" not in model.capabilities:
            return self.reply(400, {"error": f'"{name}" does not support thinking'})
        self._load(name, model, body)
        if empty:
            return self.reply(200, {"model": name, "done": True, "done_reason": "load"})
        return self._talk(name, model, body)

    def _load(self, name: str, model: FakeModel, body: dict[str, Any]) -> None:
        fake, options = self.fake, body.get("options") or {}
        context = min(options.get("num_ctx", 4096), model.trained)
        runner = {key: options.get(key) for key in ("num_gpu", "num_thread", "num_batch", "use_mmap", "main_gpu")}
        found, shift = fake.loaded.get(name), body.get("shift", True)
        if found is None or (found.context, found.shift, found.options) != (context, shift, runner):
            self.wait(fake.load_s)
            gpu = options.get("num_gpu", 99)
            keep = found.keep_alive if found else None
            found = fake.loaded[name] = InMemory(context, model.size if gpu else 0, keep, shift, runner)
        if "keep_alive" in body:
            found.keep_alive = body["keep_alive"]

    def _talk(self, name: str, model: FakeModel, body: dict[str, Any]) -> None:
        fake, options, context = self.fake, body["options"], self.fake.loaded[name].context
        question, before, prompt = self._read(body)
        said = rest_of(model.mind(question), before)
        read = len(TOKEN.findall(prompt))
        if read >= context:
            if body.get("truncate", True):
                read = context // 2
            else:
                text = (
                    f"request ({read} tokens) exceeds the available context size ({context} tokens), try increasing it"
                )
                error = {"code": 400, "message": text, "type": "exceed_context_size_error"}
                self.reply(400, {"error": json.dumps({"error": error})})
                return
        self.wait(fake.prefill_s)
        stops = list(options.get("stop") or [])
        hit = min((said.find(stop) for stop in stops if stop in said), default=-1)
        pieces = TOKEN.findall(said if hit < 0 else said[:hit])
        most = options.get("num_predict", -1)
        room = min(len(pieces) if most < 0 else most, context - read if not fake.loaded[name].shift else sys.maxsize)
        ended = len(pieces) <= room
        raw, splits = self.path == "/api/generate", bool(body.get("think")) and not before
        self.begin()
        for thought, piece in split(pieces[:room], splits):
            self.line(said_in(raw, thought, piece, model=name))
            if fake.token_s:
                time.sleep(fake.token_s)
        count = min(len(pieces), room)
        self.line(
            {**said_in(raw, "", "", model=name), "done": True, "done_reason": "stop" if ended else "length",
             "total_duration": 10**9, "load_duration": 10**6, "prompt_eval_count": read, "prompt_eval_duration": 10**7,
             "eval_count": count + ended, "eval_duration": max(1, int(max(fake.token_s, 0.001) * count * 10**9))}
        )  # fmt: skip
        self.end()

    def _read(self, body: dict[str, Any]) -> tuple[str, str, str]:
        """The last question, the unfinished answer behind it, and the whole prompt."""
        if body.get("raw"):
            prompt = body["prompt"]
            return _RAW.findall(prompt)[-1], prompt.rpartition("<|im_start|>assistant\n")[2], prompt
        messages = body["messages"]
        prompt = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
        question = [message["content"] for message in messages if message["role"] == "user"][-1]
        last = messages[-1]
        return question, last["content"] if last["role"] == "assistant" else "", prompt

    def reply(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
        content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def line(self, value: Any) -> None:
        self.piece(json.dumps(value, ensure_ascii=False).encode() + b"\n")

    def piece(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def die(self) -> None:
        """Close the line in the middle of whatever was being said."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self, seconds: float) -> None:
        """Take so long, unless the client leaves."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.connection], [], [], min(left, 0.02))[0] and not self._peeked():
                raise BrokenPipeError

    def _peeked(self) -> bytes:
        with contextlib.suppress(OSError):
            return self.connection.recv(1, socket.MSG_PEEK)
        return b""


def said_in(raw: bool, thought: str, piece: str, **more: Any) -> dict[str, Any]:
    """A line of an answer, as a chat or a raw prompt gets it."""
    if raw:
        return {**more, "created_at": "2026-01-01T00:00:00Z", "response": piece, "thinking": thought, "done": False}
    message = {"role": "assistant", "content": piece, **({"thinking": thought} if thought else {})}
    return {**more, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False}


def split(pieces: list[str], splits: bool) -> Iterator[tuple[str, str]]:
    """(thought, text) for each piece; the tags and the space behind them go to neither, as in Ollama."""
    inside = fresh = False
    for whole in pieces:
        piece = whole.lstrip() if fresh else whole
        fresh = splits and piece.strip() in ("<think>", "</think>")
        if fresh:
            inside = piece.strip() == "<think>"
        elif inside:
            yield piece, ""
        else:
            yield "", piece


def rest_of(whole: str, before: str) -> str:
    """What a model says behind what it has said: the rest of it, or after a thought that was cut short, its text."""
    if whole.startswith(before):
        return whole[len(before) :]
    text, seen = whole.rpartition("</think>")[2].lstrip(), before.rpartition("</think>")[2].lstrip()
    return text[len(seen) :] if "</think>" in before and text.startswith(seen) else " and so on."


def main(address: str) -> None:
    """Serve for ever, as `ollama serve` does: for tests that start a server."""
    with FakeOllama(int(address.rpartition(":")[2])) as fake:
        fake.models["tiny:latest"] = FakeModel()
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
