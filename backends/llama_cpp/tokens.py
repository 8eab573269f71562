"""Text to tokens and back, piece by piece."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from backends.chat_template import SEAM, is_mark, name_pattern, seamed
from backends.reasoning import CLOSE, OPEN

# A token may be longer than any fixed size; this one is enough for nearly all, and the engine says when it is not.
_PIECE_BYTES = 256


class Vocabulary:
    """A loaded model's vocabulary. Pieces are kept, so that a repeated token costs a dictionary look-up."""

    def __init__(self, lib: Any, model: int) -> None:
        self._lib = lib
        self.handle = lib.llama_model_get_vocab(model)
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self._pieces: dict[int, bytes] = {}
        self._bos: int = lib.llama_vocab_bos(self.handle)
        self._add_bos = bool(lib.llama_vocab_get_add_bos(self.handle)) and self._bos >= 0
        self._special = name_pattern(self._special_names())
        # Some models mark their thinking tags as control tokens, which otherwise have no text.
        for tag in (OPEN, CLOSE):
            tokens = self.tokenize(tag)
            if len(tokens) == 1:
                self._pieces[tokens[0]] = tag.encode()

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text; the names of special tokens become those tokens. Nothing is added."""
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            buffer = (ctypes.c_int32 * room)()
            count = self._lib.llama_tokenize(self.handle, data, len(data), buffer, room, False, True)
            if count >= 0:
                return buffer[:count]
            room = -count

    def as_plain_text(self, text: str) -> str:
        """Return a text that somebody wrote with a SEAM inside each name of a special token, for `prompt`."""
        return seamed(text, self._special)

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a rendered prompt, with exactly one leading BOS if the model wants one."""
        first, *others = text.split(SEAM)
        tokens = self.tokenize(first)
        for part in others:
            tokens += self._tokenize_inside(part)
        if self._add_bos and tokens[:1] != [self._bos]:
            tokens.insert(0, self._bos)
        return tokens

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token as an answer shows it: nothing for a control token."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._read_piece(token, special=False)
        return known

    def special_text(self, token: int) -> str:
        """Return the name of a special token such as BOS, empty if the model has none."""
        return self._read_piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def bos_text(self) -> str:
        return self.special_text(self._bos)

    def eos_text(self) -> str:
        return self.special_text(self._lib.llama_vocab_eos(self.handle))

    def is_token(self, text: str) -> bool:
        """Say whether `text` is one token."""
        return len(self.tokenize(text)) == 1

    def first_token(self) -> int:
        """Return a token to begin with, for a trial run."""
        return max(0, self._bos)

    def _tokenize_inside(self, text: str) -> list[int]:
        """Tokenize what does not stand at the beginning, where SentencePiece vocabularies would put a space before."""
        if self._lib.llama_vocab_type(self.handle) == self._lib.LLAMA_VOCAB_TYPE_SPM:
            before = self.tokenize("\n")
            tokens = self.tokenize("\n" + text)
            if tokens[: len(before)] == before:
                return tokens[len(before) :]
        return self.tokenize(text)

    def _special_names(self) -> Iterator[str]:
        """Yield the names that `tokenize` reads as special tokens."""
        lib = self._lib
        control = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN
        added = lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        for token in range(lib.llama_vocab_n_tokens(self.handle)):
            attributes = lib.llama_vocab_get_attr(self.handle, token)
            if attributes & (control | added):
                name = lib.llama_vocab_get_text(self.handle, token).decode("utf-8", "replace")
                if len(name) > 1 and (attributes & control or is_mark(name)):
                    yield name

    def _read_piece(self, token: int, special: bool) -> bytes:
        size = self._lib.llama_token_to_piece(self.handle, token, self._buffer, len(self._buffer), 0, special)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            size = self._lib.llama_token_to_piece(self.handle, token, self._buffer, -size, 0, special)
        return ctypes.string_at(self._buffer, max(0, size))
