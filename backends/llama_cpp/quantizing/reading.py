"""The log of the engine's quantiser, read while it comes: pieces of lines, with others' lines in between.

For each tensor llama_model_quantize_impl of llama-quant.cpp logs `[   3/ 272] NAME - [shape], type = f16, `, then what
it does, then ` size = …` and the end of the line. What else it has to say comes on lines of its own, or in the middle.
"""

from __future__ import annotations

import re
from collections import deque

import msgspec

_BEGINS = re.compile(r"\[ *(\d{1,9})/ *(\d{1,9})\] (.+?) +- \[[\d, ]*\], type = *(\S+), ")
_BECOMES = re.compile(r"size = +[\d.]+ MiB(?: -> +[\d.]+ MiB \((\w+)\))?$")
_FAILED = "failed to quantize: "
_KEPT = 20
_LONGEST = 4096
_ERROR, _CONTINUED = 4, 5  # ggml_log_level in ggml.h


class Begun(msgspec.Struct, frozen=True):
    """The engine begins with tensor `number` of `count`, counted from 1, whose type is `before`."""

    number: int
    count: int
    name: str
    before: str


class Reading:
    """What a run of the quantiser has said so far. `types` fills in a dry run: what each tensor would become."""

    def __init__(self) -> None:
        self.types: dict[str, str] = {}
        self.failure = ""
        self._line = ""
        self._told = False
        self._level = 0
        self._errors: deque[str] = deque(maxlen=_KEPT)

    def feed(self, level: int, text: bytes) -> list[Begun]:
        """Take one call of the engine's log callback; return the tensors that it begins with."""
        if level != _CONTINUED:
            self._level = level
        found: list[Begun] = []
        *whole, rest = text.decode("utf-8", "replace").split("\n")
        for piece in whole:
            found += self._add(piece)
            self._end()
        return found + self._add(rest)

    @property
    def last_words(self) -> str:
        """Return why the engine gave up, as far as it said so, else its last error, else ""."""
        return self.failure or (self._errors[-1] if self._errors else "")

    def _add(self, piece: str) -> list[Begun]:
        self._line = (self._line + piece)[:_LONGEST]
        match = None if self._told else _BEGINS.search(self._line)
        if match is None:
            return []
        self._told = True
        return [Begun(int(match[1]), int(match[2]), match[3], match[4])]

    def _end(self) -> None:
        line, self._line, self._told = self._line.strip(), "", False
        begins, becomes = _BEGINS.search(line), _BECOMES.search(line)
        if begins and becomes:
            self.types[begins[3]] = becomes[1] or begins[4]
        _, failed, why = line.partition(_FAILED)
        if failed:
            self.failure = why.strip()
        elif line and self._level == _ERROR:
            self._errors.append(line)
