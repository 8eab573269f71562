"""The chat template of a loaded model: chosen at load, used for every prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from backends.base import Message, Partial, ReasoningStyle
from backends.errors import BadModelFile
from backends.llama_cpp import remembered
from backends.llama_cpp.tokens import SEAM, Vocabulary
from backends.version import VERSION

if TYPE_CHECKING:
    from backends.template import ChatTemplate

_KIND = "template"


def choose_template(lib: Any, handle: int, vocabulary: Vocabulary) -> ChatTemplate:
    """Return the model's own chat template if it works, else one that fits its vocabulary, with a note for the user.

    One that fails in a trial is remembered and not tried again: it may have taken its whole time for that.
    """
    from backends.template import compile_template, fallback_source, try_out

    own = lib.llama_model_chat_template(handle, None)
    names = vocabulary.bos_text(), vocabulary.eos_text()
    if not own:
        source, note = fallback_source(vocabulary.is_token)
        return compile_template(source, *names, note)
    source = own.decode("utf-8", "replace")
    failure = remembered.read(_KIND, _key(source))
    if not isinstance(failure, str):
        try:
            template = compile_template(source, *names)
            try_out(template)
        except BadModelFile as error:
            failure = error.detail
            remembered.write(_KIND, _key(source), failure)
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
    Raises BadModelFile if the template fails; one that does too much is not used at the next load.
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
    return prompt.replace(SEAM, ""), vocabulary.prompt(prompt)


def _key(source: str) -> str:
    """Return the name of a template in what is remembered; another version of this program tries it again."""
    return hashlib.sha256(f"{VERSION}\n{source}".encode("utf-8", "replace")).hexdigest()
