"""Running tokens through the model, and knowing at any time what its KV cache holds."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from backends.base import Cancel
from backends.errors import BackendError
from backends.llama_cpp.binding import log
from backends.llama_cpp.model import logged_out_of_memory
from backends.llama_cpp.slices import Slices

# Results of llama_decode in llama.h; negative ones are errors.
OK, FULL, ABORTED = 0, 1, 2


class Decoder:
    """A context and the tokens in its KV cache (sequence 0).

    `turn` changes when a request begins or ends, and with `close`: whoever began an older one must not go on.
    `slice` is the most tokens of one `extend`; `slices` says how many are wise, with
    `whole_batches` always as many as there can be. `cached` is what `reuse` last saved.
    """

    def __init__(self, lib: Any, context: int, on_gpu: bool = False, *, whole_batches: bool = False) -> None:
        self._lib = lib
        self.context = context
        self.on_gpu = on_gpu
        self.capacity: int = lib.llama_n_ctx(context)
        self.slice: int = lib.llama_n_batch(context)
        self.whole_batches = whole_batches
        self.slices = Slices(on_gpu and not whole_batches, self.slice)
        self.tokens: list[int] = []
        self.cached = 0
        self.turn = 0
        self._memory = lib.llama_get_memory(context)
        self._slots = (ctypes.c_int32 * self.slice)()
        self._single = lib.llama_batch_get_one(self._slots, 1)
        # The engine asks `callback(data)` between the operations of a batch. strlen of an empty string is 0 and of "!"
        # is not: a native function needs no interpreter lock, which hundreds of calls a token would have to wait for.
        self._callback = ctypes.cast(ctypes.CDLL(None).strlen, lib.ggml_abort_callback)
        self._flag = ctypes.create_string_buffer(2)

    @contextmanager
    def stoppable(self, cancel: Cancel) -> Iterator[int]:
        """Let `cancel` stop a running batch (on a CPU; between batches elsewhere). Gives the number of this turn."""
        self.turn += 1
        turn = self.turn
        log.echo = True
        # Each turn has a flag of its own, so that a late `cancel` of an old one does nothing.
        flag = self._flag = ctypes.create_string_buffer(2)
        self._lib.llama_set_abort_callback(self.context, self._callback, ctypes.addressof(flag))

        def raise_flag() -> None:
            if self.turn == turn:
                log.echo = False
            flag[0] = b"!"

        cancel.on_set(raise_flag)
        try:
            yield turn
        finally:
            if self.turn == turn:
                self.turn += 1
                log.echo = True
                self._lower_flag()

    def reuse(self, prompt: Sequence[int]) -> int:
        """Keep what the KV cache has in common with `prompt`, forget the rest; return how many tokens that saves.

        The last token of the prompt always has to be run, for its logits.
        """
        self.truncate(common_prefix(self.tokens, prompt[:-1]))
        self.cached = len(self.tokens)
        return self.cached

    def extend(self, tokens: Sequence[int]) -> int:
        """Run at most `slice` tokens and return OK, FULL or ABORTED. Raises BackendError or OutOfMemory.

        After anything but OK the KV cache holds what it held before.
        """
        count = len(tokens)
        self._slots[:count] = tokens
        batch = self._single if count == 1 else self._lib.llama_batch_get_one(self._slots, count)
        result: int = self._lib.llama_decode(self.context, batch)
        if result == OK:
            self.tokens.extend(tokens)
            return OK
        self.truncate(len(self.tokens))
        if result in (FULL, ABORTED):
            return result
        raise _failure(result)

    def check(self, turn: int) -> None:
        """Raise BackendError if `turn` is over: another request began, or the model was unloaded."""
        if self.turn != turn:
            detail = "Another request began, or the model was unloaded."
            raise BackendError("This answer was given up", detail, "Ask again.")

    def synchronize(self) -> None:
        """Wait until a GPU has finished what it was given."""
        self._lib.llama_synchronize(self.context)

    def save_state(self, path: str) -> int:
        """Write the KV cache and its tokens into a file; return how many bytes that took, 0 if it failed."""
        count = len(self.tokens)
        tokens = (ctypes.c_int32 * count)(*self.tokens)
        written: int = self._lib.llama_state_seq_save_file(self.context, os.fsencode(path), 0, tokens, count)
        return written

    def state_bytes(self) -> int:
        """Return how many bytes `save_state` would write, and a few more."""
        size: int = self._lib.llama_state_seq_get_size(self.context, 0)
        return size + 4 * len(self.tokens) + 1024

    def load_state(self, path: str) -> bool:
        """Replace the KV cache by what `save_state` wrote; empty it and return False if the engine refuses.

        The engine trusts the file: it takes a flipped bit, and ends the process for a missing byte.
        """
        self.forget()
        tokens, count = (ctypes.c_int32 * self.capacity)(), ctypes.c_size_t()
        load = self._lib.llama_state_seq_load_file
        if not load(self.context, os.fsencode(path), 0, tokens, self.capacity, ctypes.byref(count)):
            self.forget()
            return False
        self.tokens = tokens[: count.value]
        return True

    def forget(self) -> None:
        """Empty the KV cache."""
        self.truncate(0)

    def close(self) -> None:
        """Free the context. Called again it does nothing."""
        if self.context:
            self.turn += 1
            self._lib.llama_free(self.context)
            self.context = 0

    def truncate(self, length: int) -> None:
        """Drop all from position `length` on; where the model's memory cannot do that, drop everything."""
        if length == 0 or not self._lib.llama_memory_seq_rm(self._memory, 0, length, -1):
            self._lib.llama_memory_clear(self._memory, False)
            length = 0
        del self.tokens[length:]

    def _lower_flag(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        self._lib.llama_set_abort_callback(self.context, self._callback, ctypes.addressof(self._flag))


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences share from their beginning."""
    for place, (mine, yours) in enumerate(zip(one, other, strict=False)):
        if mine != yours:
            return place
    return min(len(one), len(other))


def _failure(result: int) -> BackendError:
    cause, line = log.cause()
    if cause == "memory":
        return logged_out_of_memory()
    return BackendError(
        "The engine failed while it computed",
        f"llama_decode returned {result}" + (f": {line}" if line else ""),
        "Try again; if it happens again, load the model anew.",
    )
