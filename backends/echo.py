"""A scripted backend for tests, demos and the first look: it answers with what its options say, or with the question.

It can be slow, think, fail, crash or refuse to stop, on demand and at a chosen place.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from backends.base import Availability, Backend, Cancel, Cancelled, ChatRequest, Loaded, Message, TokenCount
from backends.errors import BackendError, OutOfMemory
from backends.events import ChatEvent, Done, LoadProgress, PromptProgress, Reasoning, Text, Timings, Usage
from backends.fitting import fits, overflow
from backends.reasoning import CLOSE, OPEN
from backends.stops import StopMatcher
from backends.stopwatch import timings

Phase = Literal["", "load", "prefill", "decode"]
_TOKEN = re.compile(r"\s*\S+|\s+")
_PREFILL_SLICE = 64


class EchoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`text` empty repeats the question. Speeds are tokens a second, 0 as fast as possible.

    `fail` raises an error and `crash` kills the process, in decode after `after` tokens. `deaf` ignores Stop.
    """

    text: str = ""
    reasoning: str = ""
    repeat: int = 1
    context: int = 4096
    load_s: float = 0.0
    prefill_tokens_per_second: float = 0.0
    tokens_per_second: float = 0.0
    fail: Phase = ""
    crash: Phase = ""
    after: int = 3
    deaf: bool = False


class EchoBackend(Backend):
    """Says what it was told to say. A token is a word with the space before it."""

    name = "echo"
    title = "echo"
    Options: ClassVar[type[msgspec.Struct]] = EchoOptions

    def __init__(self) -> None:
        self._options = EchoOptions()
        self._ready = False

    @classmethod
    def check(cls, options: Any = None) -> Availability:  # noqa: ARG003
        return Availability(ready=True, version="1", capabilities=("continue", "exact_tokens", "seed", "answer_now"))

    def load(self, model: str, options: EchoOptions, report: Callable[[LoadProgress], None], cancel: Cancel) -> Loaded:
        self._options, self._ready = options, False
        steps = 20 if options.load_s else 1
        started = time.monotonic()
        for step in range(steps):
            report(LoadProgress("reading", step / steps, model))
            if cancel.wait(options.load_s / steps):
                raise Cancelled
        self._misbehave("load")
        report(LoadProgress("warming", 1.0))
        self._ready = True
        return Loaded(context=options.context, load_s=time.monotonic() - started, device="none")

    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        return TokenCount(sum(len(_TOKEN.findall(message.text)) for message in messages))

    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        if not self._ready:
            raise BackendError("No model is loaded", "echo was asked before it had one.", "Load a model first.")
        options = self._options
        partial = request.partial
        prompt_tokens = self.count_tokens(request.messages).count
        if partial is not None:
            prompt_tokens += len(_TOKEN.findall(partial.reasoning)) + len(_TOKEN.findall(partial.text))
        if prompt_tokens >= options.context if partial is not None else not fits(prompt_tokens, options.context):
            raise overflow(prompt_tokens, options.context)
        started = time.monotonic()
        usage = Usage(prompt_tokens, 0, 0, 0)
        for done in range(_PREFILL_SLICE, prompt_tokens + _PREFILL_SLICE, _PREFILL_SLICE):
            if self._pause(_PREFILL_SLICE, options.prefill_tokens_per_second, cancel):
                yield Done("stopped", usage, Timings(prefill_s=time.monotonic() - started))
                return
            self._misbehave("prefill")
            yield PromptProgress(min(done, prompt_tokens), prompt_tokens)
        decoding = time.monotonic()
        reason: Literal["stop", "length", "context", "stopped"] = "stop"
        thought = said = 0
        stops = StopMatcher(request.sampling.stop)
        for event in self._script(request, cancel):
            if self._pause(event.tokens, options.tokens_per_second, cancel):
                reason = "stopped"
                break
            if thought + said == options.after:
                self._misbehave("decode")
            if prompt_tokens + thought + said >= options.context:
                reason = "context"
                break
            if request.sampling.max_tokens is not None and thought + said >= request.sampling.max_tokens:
                reason = "length"
                break
            if isinstance(event, Reasoning):
                thought += event.tokens
            else:
                said += event.tokens
                event = Text(stops.feed(event.text), event.tokens)  # noqa: PLW2901
            yield event
            if stops.hit:
                break
        if held := stops.finish():
            yield Text(held, 0)
        times = timings(decoding - started, time.monotonic() - decoding, thought + said)
        yield Done(reason, Usage(prompt_tokens, 0, thought, thought + said), times)

    def unload(self) -> None:
        self._ready = False

    def _script(self, request: ChatRequest, cancel: Cancel) -> Iterator[Reasoning | Text]:
        """Yield the scripted tokens, less those that an unfinished answer has; a hurried thought ends early."""
        options, partial = self._options, request.partial
        text = (options.text or request.messages[-1].text) * options.repeat
        if request.reasoning == "none" and options.reasoning:
            text = f"{OPEN}\n{options.reasoning}\n{CLOSE}\n\n{text}"
        had_thought = partial.reasoning if partial else ""
        had_text = partial.text if partial else ""
        thinks = options.reasoning and request.reasoning != "none"
        if thinks and not had_text and not (partial and not partial.thinking and had_thought):
            for token in _TOKEN.findall(options.reasoning.removeprefix(had_thought)):
                if cancel.hurried:
                    break
                yield Reasoning(token)
            yield Text("", 0)
        for token in _TOKEN.findall(text.removeprefix(had_text)):
            yield Text(token)

    def _pause(self, tokens: int, tokens_per_second: float, cancel: Cancel) -> bool:
        """Take the time of so many tokens; say whether the user stopped us meanwhile."""
        seconds = tokens / tokens_per_second if tokens_per_second else 0.0
        if self._options.deaf:
            time.sleep(seconds)
            return False
        return cancel.wait(seconds) if seconds else cancel.is_set()

    def _misbehave(self, phase: Phase) -> None:
        if self._options.crash == phase:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._options.fail == phase:
            if phase == "load":
                raise OutOfMemory(
                    "There is too little memory for this model", "echo was told so.", "Try a smaller one."
                )
            raise BackendError("The engine failed", f"echo was told to fail in {phase}.", "Try again.")
