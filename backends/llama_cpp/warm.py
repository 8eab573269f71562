"""Warm conversations: whose tokens the KV cache holds, what is kept of them, and what an idle engine reads ahead."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from backends import chat_states
from backends.base import Cancel, Message
from backends.chat_template import prompt_tokens
from backends.errors import BackendError
from backends.fitting import fits
from backends.llama_cpp import states
from backends.llama_cpp.binding import log
from backends.llama_cpp.decode import ABORTED, common_prefix
from backends.llama_cpp.identity import state_identity
from backends.llama_cpp.loading import OpenModel
from backends.llama_cpp.prefill import prefill

_LEAST_TOKENS = 64  # fewer are read again in a moment
# Restoring a token costs well under a hundredth of reading it on a CPU, and still less than a fourth on a fast card:
# a state is worth it if this part of it or more can be used.
_LEAST_SHARE = 1 / 8
# A batch that is stopped is lost, and reading ahead will be stopped often: 128 tokens cost about 2 % of the speed.
_AHEAD_TOKENS = 128
# Two next questions: what their prompts share does not depend on the question.
_ANY_QUESTIONS = ("A", "1")
_GIB = 1024**3
_SAVED_BYTES = 4 * _GIB


class WarmChats:
    """The conversation in the KV cache of one loaded model, and those on disk."""

    def __init__(self, model: OpenModel) -> None:
        self.model = model
        self._bound = _bound(model)
        self._chat = ""
        self._finished: tuple[Message, ...] = ()
        self._identity = b""
        if self._bound:
            chat_states.tidy()
            try:
                self._identity = state_identity(model, _flash_attention())
            except OSError as error:
                states.note(f"Chats are not kept: {error}.")
                self._bound = 0

    def enter(self, chat: str, prompt: Sequence[int], cancel: Cancel) -> str:
        """Make ready for a request of `chat` ("" keeps nothing): keep what is left, fetch what comes back.

        Returns a sentence for the user if the kept state could not be used.
        """
        if not chat_states.keepable(chat):
            chat = ""
        if chat != self._chat:
            self.leave()
        self._chat, self._finished = chat, ()
        if not chat or not self._bound:
            return ""
        path = states.state_path(chat, self._identity)
        try:
            with states.opened(path, self._identity) as kept:
                if kept is not None and self._worth(kept.tokens, prompt):
                    states.restore(self.model.decoder, kept, cancel)
        except states.Damaged as reason:
            chat_states.remove(path)
            sentence = f"The kept state of this chat {reason}: it is read anew."
            states.note(f"{sentence} ({path.name})")
            return sentence
        return ""

    def answered(self, messages: Sequence[Message], text: str) -> None:
        """Note that the model ended its answer: the next prompt will hold `text` without the thoughts before it."""
        if self._chat and text:
            self._finished = (*messages, Message("assistant", text))

    def settle(self, cancel: Cancel) -> None:
        """Read the finished conversation up to where the next question will begin; called again it goes on."""
        if not self._finished or cancel.is_set():
            return
        finished, self._finished = self._finished, ()
        decoder, ahead = self.model.decoder, self._next_prompt(finished)
        if not fits(len(ahead), decoder.capacity) or common_prefix(decoder.tokens, ahead) == len(ahead):
            return
        with decoder.stoppable(cancel) as turn:
            steps = prefill(
                decoder, ahead, cancel, turn, most=None if decoder.on_gpu or decoder.whole_batches else _AHEAD_TOKENS
            )
            result = _result(steps)
        if result == ABORTED:
            self._finished = finished

    def leave(self) -> None:
        """Keep the state of the conversation in the KV cache, which is about to be overwritten. Never raises."""
        chat, self._chat = self._chat, ""
        finished, self._finished = self._finished, ()
        decoder = self.model.decoder
        ahead = self._next_prompt(finished) if finished else []
        if ahead:
            # The thoughts will never be asked for again.
            decoder.truncate(common_prefix(decoder.tokens, ahead))
        if chat and self._bound and len(decoder.tokens) >= _LEAST_TOKENS:
            states.save(decoder, states.state_path(chat, self._identity), self._identity, self._bound)

    def forget(self, chat: str) -> None:
        """Keep nothing of `chat`, in memory or on disk. Raises Problem if a file stays behind."""
        if chat and chat == self._chat:
            self._chat, self._finished = "", ()
            self.model.decoder.forget()
        chat_states.forget(chat)

    def _worth(self, kept: Sequence[int], prompt: Sequence[int]) -> bool:
        """Say whether restoring `kept` saves more than the KV cache does already, and enough."""
        decoder = self.model.decoder
        if len(kept) > decoder.capacity:
            return False
        gain = common_prefix(kept, prompt[:-1]) - common_prefix(decoder.tokens, prompt[:-1])
        return gain > 0 and gain >= len(kept) * _LEAST_SHARE

    def _next_prompt(self, messages: tuple[Message, ...]) -> list[int]:
        """Return the tokens with which the next prompt will begin, whatever the question; none if that is unknown."""
        template, vocabulary = self.model.template, self.model.vocabulary
        try:
            one, other = (
                prompt_tokens(template, vocabulary, (*messages, Message("user", question)))[1]
                for question in _ANY_QUESTIONS
            )
        except BackendError as error:
            states.note(f"The next prompt could not be foreseen: {error}")
            return []
        return one[: common_prefix(one, other)]


def _bound(model: OpenModel) -> int:
    """Return how many bytes the states of all chats may have. What streams from a disk should not write to it."""
    asked = model.options.saved_chats_gib
    if asked == "auto":
        return 0 if model.streamed_bytes else _SAVED_BYTES
    return int(asked * _GIB)


def _result(steps: Generator[object, None, int]) -> int:
    """Run a generator to its end and return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return int(end.value)


def _flash_attention() -> str:
    """Return what the engine has just made of the option, from its log; "" if it does not say."""
    said = [line for line in log.lines() if "Flash Attention" in line]
    return said[-1].strip() if said else ""
