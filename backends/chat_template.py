"""The chat template of a loaded model: chosen at load, used for every prompt."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from backends import remembered
from backends.base import Message, Partial, ReasoningStyle
from backends.errors import BadModelFile
from backends.version import VERSION

if TYPE_CHECKING:
    from backends.template import ChatTemplate

SEAM = "\udfff"
"""Stands in a prompt where its tokens must not grow together. No text can contain it: it is half a UTF-16 pair."""

_KIND = "template"
_MARK = re.compile(r"</?think>|<[|｜].*[|｜]>", re.DOTALL)


class Vocabulary(Protocol):
    """What an engine's tokens have to offer."""

    def bos_text(self) -> str:
        """Return the name of the token that begins a text, empty if there is none."""

    def eos_text(self) -> str:
        """Return the name of the token that ends a text, empty if there is none."""

    def is_token(self, text: str) -> bool:
        """Say whether `text` is one token."""

    def as_plain_text(self, text: str) -> str:
        """Return a text that somebody wrote with a SEAM inside each name of a special token: see `seamed`."""

    def prompt(self, text: str) -> list[int]:
        """Return the tokens of a rendered prompt; a SEAM in it has no token, and none reaches over it."""


def choose_template(own: str, vocabulary: Vocabulary) -> ChatTemplate:
    """Return the model's own chat template if it works, else one that fits its vocabulary, with a note for the user.

    `own` is "" where the model has none. One that fails in a trial is remembered and not tried again: it may have taken
    its whole time for that.
    """
    from backends.template import compile_template, fallback_source, try_out

    names = vocabulary.bos_text(), vocabulary.eos_text()
    if not own:
        source, note = fallback_source(vocabulary.is_token)
        return compile_template(source, *names, note)
    failure = remembered.read(_KIND, _key(own))
    if not isinstance(failure, str):
        try:
            template = compile_template(own, *names)
            try_out(template)
        except BadModelFile as error:
            failure = error.detail
            remembered.write(_KIND, _key(own), failure)
        else:
            return template
    why = f"The model's own chat template does not work ({failure.rstrip('.')})"
    source, note = fallback_source(vocabulary.is_token, why)
    return compile_template(source, *names, note)


def prompt_tokens(
    template: ChatTemplate,
    vocabulary: Vocabulary,
    messages: Sequence[Message],
    partial: Partial | None = None,
    style: ReasoningStyle = "none",
) -> tuple[str, list[int]]:
    """Return a conversation as the prompt's text and tokens, ending where the answer, or the rest of it, begins.

    Special tokens come from the template alone: their names in a message or in the partial answer are plain text.
    Raises BadModelFile if the template fails or writes nothing; one that does too much is not used at the next load.
    """
    from backends.template import append_partial, render
    from backends.template_limits import TemplateTooMuch

    try:
        prompt = render(template, messages, vocabulary.as_plain_text)
    except BadModelFile as error:
        if isinstance(error.__cause__, TemplateTooMuch):
            remembered.write(_KIND, _key(template.source), error.detail)
            hint = "Load the model again: it then gets a template that fits its vocabulary."
            raise BadModelFile(error.title, error.detail, hint) from error
        raise
    if partial is not None:
        partial = msgspec.structs.replace(
            partial,
            reasoning=vocabulary.as_plain_text(partial.reasoning),
            text=vocabulary.as_plain_text(partial.text),
        )
    prompt = append_partial(prompt, partial, style)
    tokens = vocabulary.prompt(prompt)
    if not tokens:
        hint = "Use another file of this model."
        raise BadModelFile("The model's chat template gives an empty prompt", "It wrote nothing.", hint)
    return prompt.replace(SEAM, ""), tokens


def is_mark(name: str) -> bool:
    """Say whether a token that a publisher added as text is a mark; others are mere runs of spaces or HTML."""
    return _MARK.fullmatch(name) is not None


def name_pattern(names: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern for the names of special tokens, None if there are none."""
    found = sorted(names)
    return re.compile(f"(?:{'|'.join(map(re.escape, found))})") if found else None


def seamed(text: str, names: re.Pattern[str] | None) -> str:
    """Return `text` with a SEAM behind the first character of each of `names` in it."""
    text = text.replace(SEAM, "?")  # as half a character is encoded
    if names is None or not names.search(text):
        return text
    return re.sub(rf"(?={names.pattern}).", rf"\g<0>{SEAM}", text, flags=re.DOTALL)


def _key(source: str) -> str:
    """Return the name of a template in what is remembered; another version of this program tries it again."""
    return hashlib.sha256(f"{VERSION}\n{source}".encode("utf-8", "replace")).hexdigest()
