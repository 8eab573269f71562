"""What a model's chat template lets us do, read from what `show` tells of it.

Ollama has two kinds. A Go template is rendered by the server: one that leaves a last assistant message open lets an
answer be continued. A Jinja template comes from the model file; the server renders it too, and so can we.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

Kind = Literal["messages", "jinja", "closed"]
"""How an answer can be continued: by a last message of the assistant, by rendering the prompt here, or not at all."""

_TAIL_OPENS = re.compile(r"<think>\s*(\{\{-?\s*end\s*-?\}\}\s*)*$")
_OPEN_END = re.compile(
    r"\.Content\s*-?\}\}(\s|\{\{-?\s*end\s*-?\}\})*\{\{-?\s*if\b[^}]*\bnot\b[^}]*(\$last\b|slice\s+\$\.Messages)"
)
_NO_NEW_TURN = re.compile(r"ne\s+\.Role\s+\"assistant\"")


class Template(msgspec.Struct, frozen=True):
    """`opens_thought` says that the prompt ends with `<think>`. `source` is the template itself."""

    source: str
    kind: Kind
    opens_thought: bool


def read_template(source: str) -> Template:
    """Look at the template that a server uses for a model."""
    if "{%" in source:
        # Where the server renders Jinja it also takes the thought out of the answer.
        return Template(source, "jinja" if _compiles(source) else "closed", False)
    return Template(source, "messages" if _leaves_open(source) else "closed", bool(_TAIL_OPENS.search(source)))


def _leaves_open(source: str) -> bool:
    """Say whether a Go template writes a last message of the assistant without its end."""
    if ".Messages" not in source:
        # The old kind: the server cuts it behind the answer by itself.
        return ".Response" in source
    return bool(_NO_NEW_TURN.search(source) and _OPEN_END.search(source))


def _compiles(source: str) -> bool:
    from backends.errors import BadModelFile
    from backends.template import compile_template, try_out

    try:
        try_out(compile_template(source))
    except BadModelFile:
        return False
    return True
