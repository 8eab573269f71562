"""A server on the loopback that speaks the OpenAI protocol in several dialects, with every way to go wrong."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable
from typing import Any

from tests.backends.fake_ollama import TOKEN, rest_of
from tests.backends.fake_server import FakeServer, StreamHandler

KINDS = {
    "plain": "me", "vllm": "vllm", "sglang": "sglang", "tabby": "tabbyAPI", "llama_server": "llamacpp",
    "lm_studio": "organization_owner", "deepseek": "deepseek",
}  # fmt: skip
_TURN = re.compile(r"<user>(.*?)</user>", re.DOTALL)


class FakeOpenAI(FakeServer):
    """The server. Change its fields at any time.

    `mind` gives a model's whole output for a question, tags included; with `splits` the server takes the thought out.
    `opened` says that its chat template opens the thought, so that the output lacks the first tag. `owner` is what its
    list of models says of who it is.
    """

    def __init__(
        self, kind: str = "plain", context: int = 4096, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.kind = kind
        self.context = context
        self.models: dict[str, Callable[[str], str]] = {}
        self.splits = self.opened = False
        self.usage = True
        self.token_s = self.prefill_s = 0.0
        self.loading = 0
        self.key = ""
        self.prefix = "/v1"
        self.refuses: tuple[str, ...] = ()
        self.owner = KINDS[kind]
        super().__init__(Handler, host, tls=tls)

    @property
    def url(self) -> str:
        return self.root + self.prefix

    def chats(self) -> list[dict[str, Any]]:
        """What was asked for answers, oldest first."""
        return [body for path, body in list(self.asked) if path.endswith("/completions")]

    def paths(self) -> list[str]:
        """The addresses that were asked, oldest first."""
        return [path for path, _ in list(self.asked)]


class Handler(StreamHandler):
    fake: FakeOpenAI
    stream_type = "text/event-stream"

    def answer(self, body: dict[str, Any]) -> None:
        fake = self.fake
        if fake.key and self.headers.get("authorization") != f"Bearer {fake.key}":
            return self.refuse(401, "Incorrect API key provided", "invalid_request_error")
        if self.path == fake.prefix + "/models":
            if fake.loading > 0:
                fake.loading -= 1
                return self.refuse(503, "Loading model", "unavailable_error")
            return self.reply(200, {"object": "list", "data": [self._listed(name) for name in fake.models]})
        if self.path in {fake.prefix + "/chat/completions", fake.prefix + "/completions"}:
            mind = fake.models.get(body["model"])
            if mind is None:
                return self.refuse(404, f"The model `{body['model']}` does not exist.", "NotFoundError")
            for name in fake.refuses:
                if name in body:
                    return self.refuse(400, f"Unknown field: {name}", "invalid_request_error")
            return self._talk(mind, body)
        return self._beside(body)

    def _beside(self, body: dict[str, Any]) -> None:
        fake, path = self.fake, self.path
        llama = fake.kind == "llama_server"
        if fake.kind == "vllm" and path == "/version":
            return self.reply(200, {"version": "0.11.0"})
        if fake.kind == "vllm" and path == "/tokenize":
            return self.reply(200, {"count": len(TOKEN.findall(prompt_of(body["messages"])))})
        if llama and path == "/props":
            return self.reply(200, {"default_generation_settings": {"n_ctx": fake.context}, "build_info": "b9999"})
        if llama and path == "/apply-template":
            return self.reply(200, {"prompt": prompt_of(body["messages"]) + ("<think>\n" if fake.opened else "")})
        if llama and path == "/tokenize":
            return self.reply(200, {"tokens": list(range(len(TOKEN.findall(body["content"]))))})
        if fake.kind == "tabby" and path == "/v1/model":
            return self.reply(200, {"id": "m", "parameters": {"max_seq_len": fake.context}})
        if fake.kind == "lm_studio" and path == "/api/v0/models":
            shown = {"loaded_context_length": fake.context, "max_context_length": 2 * fake.context}
            return self.reply(200, {"data": [{"id": name, **shown} for name in fake.models]})
        return self.reply(404, {"detail": "Not Found"})

    def _listed(self, name: str) -> dict[str, Any]:
        fake = self.fake
        shown: dict[str, Any] = {"id": name, "object": "model", "owned_by": fake.owner}
        if fake.kind in {"vllm", "sglang"}:
            shown["max_model_len"] = fake.context
        if fake.kind == "llama_server":
            shown["meta"] = {"n_ctx_train": 2 * fake.context}
        return shown

    def _talk(self, mind: Callable[[str], str], body: dict[str, Any]) -> None:
        fake = self.fake
        question, before, prompt = self._read(body)
        said = rest_of(mind(question), before.lstrip("\n"))
        thinking = fake.splits and not before and said.startswith("<think>")
        if fake.opened and not before:
            said = said.removeprefix("<think>\n")
        read = len(TOKEN.findall(prompt))
        if read >= fake.context:
            text = (
                f"This model's maximum context length is {fake.context} tokens. However, you requested {read} tokens."
            )
            self.refuse(400, text, "BadRequestError")
            return
        self.wait(fake.prefill_s)
        hit = min((said.find(stop) for stop in body.get("stop") or () if stop in said), default=-1)
        pieces = TOKEN.findall(said if hit < 0 else said[:hit])
        room = min(body.get("max_tokens") or len(pieces), fake.context - read)
        ended = len(pieces) <= room
        raw = self.path == fake.prefix + "/completions"
        self.begin()
        for number, piece in enumerate(pieces[:room], 1):
            if thinking and piece.strip() in {"<think>", "</think>"}:
                thinking = piece.strip() == "<think>"
                continue
            self.event(self._piece(piece, raw, thinking), None, self._live(read, number))
            if fake.token_s:
                time.sleep(fake.token_s)
        count = min(len(pieces), room)
        counts = {
            "prompt_tokens": read,
            "completion_tokens": count + ended,
            "prompt_tokens_details": {"cached_tokens": 1},
        }
        live = self._live(read, count)
        self.event(self._piece("", raw, False), "stop" if ended else "length", live if "timings" in live else {})
        if fake.usage and (body.get("stream_options") or {}).get("include_usage"):
            self.send({"choices": [], "usage": counts})
        self.data(b"data: [DONE]\n\n")
        self.end()

    def _piece(self, text: str, raw: bool, thinking: bool) -> dict[str, Any]:
        if raw:
            return {"text": text}
        return {"delta": {"reasoning_content": text} if thinking else {"content": text}}

    def _live(self, read: int, number: int) -> dict[str, Any]:
        if self.fake.kind == "vllm":
            return {"usage": {"prompt_tokens": read, "completion_tokens": number}}
        if self.fake.kind == "llama_server":
            ms = max(self.fake.token_s, 0.0001) * 1e3 * number
            return {"timings": {"cache_n": 1, "prompt_ms": 5.0, "predicted_n": number, "predicted_ms": ms}}
        return {}

    def _read(self, body: dict[str, Any]) -> tuple[str, str, str]:
        """The last question, the unfinished answer behind it, and the whole prompt."""
        if "prompt" in body:
            prompt = body["prompt"]
            return _TURN.findall(prompt)[-1], prompt.rpartition("<answer>")[2], prompt
        messages = body["messages"]
        question = [message["content"] for message in messages if message["role"] == "user"][-1]
        before = body.get("response_prefix", "")
        if body.get("continue_final_message"):
            before, messages = messages[-1]["content"], messages[:-1]
        return question, before, prompt_of(messages) + before

    def refuse(self, status: int, text: str, kind: str) -> None:
        self.reply(status, {"error": {"message": text, "type": kind, "code": status}})

    def event(self, piece: dict[str, Any], finish: str | None = None, more: dict[str, Any] | None = None) -> None:
        self.send({"choices": [{"index": 0, "finish_reason": finish, **piece}], **(more or {})})

    def send(self, value: Any) -> None:
        self.data(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")


def prompt_of(messages: list[dict[str, str]]) -> str:
    """A conversation as this server's chat template renders it."""
    turns = [f"<{message['role']}>{message['content']}</{message['role']}>" for message in messages]
    return "\n".join(turns) + "\n<answer>"
