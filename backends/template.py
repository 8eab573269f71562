"""Chat templates: a conversation rendered into the prompt that a model was trained on.

A template comes with the model file, so it is hostile: it runs in Jinja's immutable sandbox (without it a model file
can run any code: CVE-2024-34359) and within limits of size and time. What it can still do is waste some memory.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import jinja2
import jinja2.filters
import jinja2.sandbox
import msgspec

from backends.base import Message, Partial, ReasoningStyle
from backends.errors import BadModelFile
from backends.reasoning import CLOSE, OPEN, prompt_opens_thought, strip_thought

SOURCE_LIMIT = 256 * 1024
OUTPUT_LIMIT = 16 * 1024 * 1024
REPEAT_LIMIT = 64 * 1024
SECONDS_LIMIT = 2.0

_HINT = "Use another file of this model, or report the template to its publisher."
_GENERATION_TAG = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")

CHATML = """{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA3 = """{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>

{{ message.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""  # noqa: E501 - every line break of a template counts

DEEPSEEK_R1 = """{{ bos_token }}{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}
{%- elif message.role == 'user' %}<｜User｜>{{ message.content }}
{%- else %}<｜Assistant｜>{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}<｜Assistant｜><think>
{% endif %}"""


class TemplateRefused(Exception):
    """The template itself said no, through `raise_exception`."""


class TemplateTooMuch(Exception):
    """The template went over a limit."""


class ChatTemplate(msgspec.Struct, frozen=True):
    """A compiled template. `note` tells the user where it comes from, if not from the model."""

    program: jinja2.Template
    bos: str
    eos: str
    note: str = ""


def compile_template(source: str, bos: str = "", eos: str = "", note: str = "") -> ChatTemplate:
    """Compile a chat template; `bos` and `eos` are the texts of the model's tokens.

    Raises BadModelFile if the source is too long or is no Jinja.
    """
    if len(source) > SOURCE_LIMIT:
        raise BadModelFile("The model's chat template is too long", f"{len(source)} characters.", _HINT)
    try:
        # `{% generation %}` only marks what was trained on; here it means nothing.
        program = _environment().from_string(_GENERATION_TAG.sub(_neutral_tag, source))
    except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError, MemoryError) as error:
        raise BadModelFile("The model's chat template cannot be read", _line(error), _HINT) from error
    return ChatTemplate(program, bos, eos, note)


def fallback_source(is_token: Callable[[str], bool]) -> tuple[str, str]:
    """Return a template for a model without one, and a note for the user.

    `is_token` says whether the vocabulary has this text as one token: that shows what the model was trained on.
    """
    for mark, name, source in (
        ("<｜User｜>", "DeepSeek R1", DEEPSEEK_R1),
        ("<|start_header_id|>", "Llama 3", LLAMA3),
    ):
        if is_token(mark):
            return source, f"The model file has no chat template; its tokens are those of {name}, so that one is used."
    return CHATML, "The model file has no chat template; ChatML is used, which may not be what it was trained on."


def render(template: ChatTemplate, messages: Sequence[Message]) -> str:
    """Render a conversation as a prompt that ends where the assistant's answer begins.

    Thoughts are taken out of earlier answers. A system message that the template refuses or leaves out goes into the
    first user message. Raises BadModelFile if the template fails, loops for too long or writes too much.
    """
    plain = [Message(m.role, strip_thought(m.text)) if m.role == "assistant" else m for m in messages]
    system = [message.text.strip() for message in plain if message.role == "system"]
    try:
        prompt = _run(template, plain)
        if all(text in prompt for text in system):
            return prompt
    except TemplateRefused as error:
        if not system:
            raise BadModelFile("The model's chat template refuses this conversation", _line(error), _HINT) from error
    try:
        return _run(template, fold_system(plain))
    except TemplateRefused as error:
        raise BadModelFile("The model's chat template refuses this conversation", _line(error), _HINT) from error


def fold_system(messages: Sequence[Message]) -> list[Message]:
    """Put the system messages before the text of the first user message."""
    system = [message.text for message in messages if message.role == "system" and message.text]
    folded = [message for message in messages if message.role != "system"]
    for place, message in enumerate(folded):
        if message.role == "user":
            folded[place] = Message("user", "\n\n".join([*system, message.text]))
            return folded
    return [Message("user", "\n\n".join(system)), *folded] if system else folded


def append_partial(prompt: str, partial: Partial | None, style: ReasoningStyle) -> str:
    """Append an unfinished answer to a rendered prompt, in the form in which R1 writes it.

    The tags come out the same whether the template ends with `<think>` or leaves that to the model.
    """
    if partial is None:
        return prompt
    if style == "none":
        return prompt + partial.text
    opened = prompt_opens_thought(prompt)
    if not (partial.thinking or partial.reasoning or (opened and partial.text)):
        return prompt + partial.text
    thought = prompt.rstrip() + "\n" if opened else f"{prompt}{OPEN}\n"
    if partial.thinking:
        return thought + partial.reasoning
    ended = partial.reasoning.rstrip("\r\n")
    return f"{thought}{ended}\n{CLOSE}\n\n{partial.text}"


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"], autoescape=False
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _strftime_now
    environment.globals.pop("lipsum", None)
    environment.filters["tojson"] = _to_json
    # One operator or filter must not be able to fill the memory.
    environment.filters.pop("center", None)
    environment.filters["indent"] = _indent
    environment.intercepted_binops = frozenset(["*", "**", "%"])
    environment.binop_table.update({"*": _times, "**": _power, "%": _modulo})
    return environment


def _run(template: ChatTemplate, messages: Sequence[Message]) -> str:
    parts: list[str] = []
    size = 0
    try:
        with _time_limit(SECONDS_LIMIT):
            for part in template.program.generate(
                messages=[{"role": message.role, "content": message.text} for message in messages],
                add_generation_prompt=True,
                bos_token=template.bos,
                eos_token=template.eos,
            ):
                size += len(part)
                if size > OUTPUT_LIMIT:
                    raise TemplateTooMuch(f"It writes more than {OUTPUT_LIMIT} characters.")
                parts.append(part)
    except TemplateRefused:
        raise
    except Exception as error:  # a template may raise whatever its expressions do
        raise BadModelFile("The model's chat template fails", _line(error), _HINT) from error
    return "".join(parts)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise TemplateTooMuch when the template's code still runs after so long.

    A trace function sees each line of compiled templates, so it also stops loops that write nothing. It needs neither
    signals nor a second thread, and costs about 1 µs a line of template code.
    """
    deadline = time.monotonic() + seconds

    def trace(frame: Any, _event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename != "<template>":
            return None
        if time.monotonic() > deadline:
            raise TemplateTooMuch(f"It runs for more than {seconds:g} seconds.")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _neutral_tag(match: re.Match[str]) -> str:
    return "{%" + match[1] + (" endif " if match[2] else " if true ") + match[3] + "%}"


def _refuse(message: object) -> NoReturn:
    raise TemplateRefused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().astimezone().strftime(form)


def _to_json(value: object, indent: int | None = None, **_options: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    if isinstance(width, int) and width > 64:
        raise TemplateTooMuch("It indents a text too far.")
    return jinja2.filters.do_indent(text, width, first, blank)


def _times(left: Any, right: Any) -> Any:
    for many, other in ((left, right), (right, left)):
        if isinstance(many, (str, list, tuple)) and isinstance(other, int) and len(many) * other > REPEAT_LIMIT:
            raise TemplateTooMuch("It repeats something too often.")
    return left * right


def _power(left: Any, right: Any) -> Any:
    if abs(left) > REPEAT_LIMIT or abs(right) > 64:
        raise TemplateTooMuch("It computes too large a power.")
    return left**right


def _modulo(left: Any, right: Any) -> Any:
    if isinstance(left, str) and re.search(r"\d{5}|\*", left):
        raise TemplateTooMuch("It pads a text too far.")
    return left % right


def _line(error: BaseException) -> str:
    """Return what an error says as one bounded line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
