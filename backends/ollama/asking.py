"""What to send for a question: the chat, or for an answer that goes on, whatever lets this model go on."""

from __future__ import annotations

from typing import Any

import msgspec

from backends.base import ChatRequest, Message, Partial
from backends.errors import CannotContinue
from backends.http.counting import visible
from backends.ollama.dialect import sampling_options
from backends.ollama.templates import Template
from backends.reasoning import SplitState, initial_state

CHAT, GENERATE = "/api/chat", "/api/generate"


class Asked(msgspec.Struct, frozen=True):
    """One request, and where the text that answers it starts."""

    path: str
    body: dict[str, Any]
    state: SplitState


class Asking(msgspec.Struct, frozen=True):
    """How this model is asked, the same for each question.

    `runner` are the load options. `shift` False keeps the server from dropping what is old when the context is full:
    also a load option, so None where another program loaded the model without it. `keep_alive` None leaves the time
    that the model stays as its owner set it.
    """

    model: str
    template: Template
    thinks: bool
    runner: dict[str, Any]
    stops: tuple[str, ...] = ()
    shift: bool | None = None
    keep_alive: str | None = None

    @property
    def can_continue(self) -> bool:
        return self.template.kind != "closed"

    def load(self) -> dict[str, Any]:
        """Return the request that only loads the model."""
        return {"model": self.model, "messages": [], "stream": False, **self._common(dict(self.runner))}

    def ask(self, request: ChatRequest, partial: Partial | None, room: int | None) -> Asked:
        """Return the request for an answer, or for the rest of `partial`, of at most `room` tokens.

        Raises CannotContinue, and BadModelFile if the model's template fails.
        """
        sampling = msgspec.structs.replace(request.sampling, max_tokens=room)
        options = {**self.runner, **sampling_options(sampling, self.stops)}
        body = {"model": self.model, "stream": True, "truncate": False, **self._common(options)}
        think = self.thinks and request.reasoning != "none"
        if self.thinks:
            body["think"] = think
        if partial is None or not (partial.text or partial.reasoning or partial.thinking):
            # Where the server takes the thought out, its text starts plainly.
            opened = self.template.opens_thought and not think
            state = initial_state(request.reasoning, "<think>" if opened else "", None)
            return Asked(CHAT, {**body, "messages": _messages(request.messages)}, state)
        if not self.can_continue:
            raise cannot_continue(self.model)
        if self.template.kind == "jinja":
            return self._raw(body, request, partial)
        from backends.template import append_partial

        said = append_partial("", partial, request.reasoning)
        messages = [*_messages(request.messages), {"role": "assistant", "content": said}]
        return Asked(CHAT, {**body, "messages": messages}, initial_state(request.reasoning, said, partial))

    def _raw(self, body: dict[str, Any], request: ChatRequest, partial: Partial) -> Asked:
        """Render the prompt here: the server would begin a new turn, or take the rest of an answer for a thought."""
        from backends.template import append_partial, compile_template, render

        prompt = render(compile_template(self.template.source), request.messages)
        prompt = append_partial(prompt, partial, request.reasoning)
        if self.thinks:
            body["think"] = False
        raw = {**body, "prompt": prompt, "raw": True}
        return Asked(GENERATE, raw, initial_state(request.reasoning, prompt, partial))

    def _common(self, options: dict[str, Any]) -> dict[str, Any]:
        said: dict[str, Any] = {"options": options}
        if self.shift is not None:
            said["shift"] = self.shift
        if self.keep_alive is not None:
            said["keep_alive"] = self.keep_alive
        return said


def cannot_continue(model: str) -> CannotContinue:
    """Return the error for a model whose template ends each answer."""
    return CannotContinue(
        "Ollama cannot go on with this answer",
        f"The chat template of {model} ends each message, so an unfinished one cannot be left open.",
        "Ask again, or continue it on another backend.",
    )


def _messages(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    """Return the history in Ollama's words. The server strips the thoughts of some models only, so all go here."""
    return [{"role": message.role, "content": visible(message)} for message in messages]
