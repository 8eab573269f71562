"""Text to tokens, with the tokenizer that ExLlamaV2 brings along."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.chat_template import SEAM, is_mark, name_pattern, seamed
from backends.reasoning import OPEN


class Vocabulary:
    """A loaded model's vocabulary. `names` are the added tokens, and whether each is a control token."""

    def __init__(self, tokenizer: Any, names: Mapping[str, bool]) -> None:
        self._tokenizer = tokenizer
        self._special = name_pattern(name for name, control in names.items() if control or is_mark(name))
        self.hides_thoughts = names.get(OPEN, False)
        """Whether the thinking tags are control tokens, which an answer shows only where it is asked to."""

    def bos_text(self) -> str:
        return self._tokenizer.bos_token or ""

    def eos_text(self) -> str:
        return self._tokenizer.eos_token or ""

    def is_token(self, text: str) -> bool:
        return len(self.tokenize(text)) == 1

    def as_plain_text(self, text: str) -> str:
        return seamed(text, self._special)

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a rendered prompt. The template writes BOS where the model wants one."""
        return [token for part in text.split(SEAM) for token in self.tokenize(part)]

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of a text; the names of special tokens become those tokens. Nothing is added."""
        if not text:
            return []
        text = text.encode(errors="replace").decode()  # the tokenizer refuses half a UTF-16 pair
        tokens: list[int] = self._tokenizer.encode(text, encode_special_tokens=True)[0].tolist()
        return tokens
