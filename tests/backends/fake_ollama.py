"""A server on the loopback that speaks Ollama's protocol, with scripted models and every way to go wrong.

It counts words as tokens, keeps what it was asked, and notices when a client leaves.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.backends.fake_server import FakeServer, StreamHandler

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


class FakeOllama(FakeServer):
    """The server. Change its fields at any time.

    `blobs` are the files that it was sent whole, by hash, `uploads` all that anybody began to send; each MiB of one
    takes `piece_s`.

    `library` are the models that it can fetch, as the sizes of their layers, and `kept` how much it has of each layer.
    A fetch takes `layer_s` for each tenth of a layer.
    """

    def __init__(self, port: int = 0, version: str = "0.33.0") -> None:
        self.models: dict[str, FakeModel] = {}
        self.loaded: dict[str, InMemory] = {}
        self.version = version
        self.token_s = self.prefill_s = self.load_s = self.piece_s = 0.0
        self.blobs: dict[str, int] = {}
        self.uploads: list[str] = []
        self.library: dict[str, tuple[int, ...]] = {}
        self.kept: dict[str, int] = {}
        self.layer_s = 0.0
        super().__init__(Handler, port=port)
        self.url = self.root

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What was asked at `path`, oldest first."""
        return [body for where, body in list(self.asked) if where == path]

    def chats(self) -> list[dict[str, Any]]:
        """The chats that were not there to load or unload."""
        return [body for body in self.bodies("/api/chat") if body.get("messages")]


class Handler(StreamHandler):
    fake: FakeOllama
    stream_type = "application/x-ndjson"

    def do_HEAD(self) -> None:  # noqa: N802 - its base class asks for it so
        self.fake.asked.append((f"HEAD {self.path}", {}))
        if not self.fake.fault(self, f"HEAD {self.path}", {}):
            found = self.path.removeprefix("/api/blobs/") in self.fake.blobs
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _serve(self) -> None:
        if self.command == "POST" and self.path.startswith("/api/blobs/"):
            try:
                self._take_blob(self.path.removeprefix("/api/blobs/"))
            except (BrokenPipeError, ConnectionResetError):
                self.fake.left.append(self.path)
                self.close_connection = True
        else:
            super()._serve()

    def _take_blob(self, digest: str) -> None:
        """Keep a file if it came whole and its hash is the one that was said."""
        fake, size = self.fake, int(self.headers["content-length"])
        fake.asked.append((self.path, {}))
        fake.uploads.append(digest)
        if fake.fault(self, self.path, {}):
            return None
        found, left = hashlib.sha256(), size
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                raise ConnectionResetError
            found.update(piece)
            left -= len(piece)
            time.sleep(fake.piece_s)
        if f"sha256:{found.hexdigest()}" != digest:
            return self.reply(400, {"error": f'digest mismatch, expected "{digest}", got "sha256:{found.hexdigest()}"'})
        fake.blobs[digest] = size
        return self.reply(201, "")

    def _create(self, body: dict[str, Any]) -> None:
        """Make a model of files that are there, as `create` does: line by line, with failures among them."""
        fake = self.fake
        self.begin()
        if not body.get("files") or not all(digest in fake.blobs for digest in body["files"].values()):
            self.line({"error": "no such file or directory", "status": 500})
            return self.end()
        self.line({"status": "parsing GGUF"})
        parameters = body.get("parameters", {})
        rows = [(name, one) for name, many in parameters.items() for one in (many if type(many) is list else [many])]
        written = "\n".join(f"{name:<30} {json.dumps(one, ensure_ascii=False)}" for name, one in rows)
        fake.models[body["model"]] = FakeModel(template=body.get("template") or GO_OPEN, parameters=written)
        self.line({"status": "writing manifest"})
        self.line({"status": "success"})
        return self.end()

    def _pull(self, body: dict[str, Any]) -> None:
        """Fetch a model as `pull` does: layer by layer, going on from what is kept; what is 0 is left out."""
        fake, tag = self.fake, body["model"]
        self.begin()
        self.line({"status": "pulling manifest"})
        if tag not in fake.library:
            self.line({"error": "pull model manifest: file does not exist"})
            return self.end()
        for number, size in enumerate(fake.library[tag]):
            digest = f"sha256:{hashlib.sha256(f'{tag} {number}'.encode()).hexdigest()}"
            begun = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": size}
            while (done := fake.kept.get(digest, 0)) < size:
                self.line({**begun, "completed": done} if done else begun)
                self.wait(fake.layer_s)
                fake.kept[digest] = min(size, done + max(1, size // 10))
            self.line({**begun, "completed": size})
        self.line({"status": "verifying sha256 digest"})
        self.line({"status": "writing manifest"})
        fake.models[tag if ":" in tag else f"{tag}:latest"] = FakeModel()
        self.line({"status": "success"})
        return self.end()

    def answer(self, body: dict[str, Any]) -> None:
        fake = self.fake
        match self.path:
            case "/api/pull":
                return self._pull(body)
            case "/api/create":
                return self._create(body)
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

    def line(self, value: Any) -> None:
        self.data(json.dumps(value, ensure_ascii=False).encode() + b"\n")


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
