"""A chat as Markdown: front matter, then one section a message, with folded thoughts and a line of figures."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from pathlib import Path

from tui.chat.clean import clean, clean_line
from tui.chat.exporting.export import Exported
from tui.chat.exporting.front_matter import Scalar, Value, front_matter
from tui.chat.exporting.markdown_safe import contained, escaped
from tui.chat.exporting.plain_text import LEFT_OUT, ending, thought, took, when, who
from tui.chat.storing.receipts import MICRO, NANO
from tui.chat.storing.stored import StoredMessage
from tui.chat.usage import usage

_ASKED = {"system": "system_prompt"}


def markdown(exported: Exported, *, thoughts: bool) -> str:
    """Return a chat as one Markdown document. `exported` holds the branch that is to be written, and no other."""
    return f"{front_matter(facts(exported)).strip()}\n\n{conversation(exported, thoughts=thoughts)}"


def conversation(exported: Exported, *, thoughts: bool) -> str:
    """Return the same document without its front matter."""
    parts = [f"# {escaped(clean_line(exported.chat.title))}"]
    for message in exported.messages:
        parts += _message(message, thoughts=thoughts)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def facts(exported: Exported) -> dict[str, Value]:
    """Return what the head of the document says. Unknown figures are None; energy and money add up all receipts."""
    chat, total = exported.chat, usage(exported.receipts, "chat").total
    answers = [message for message in exported.messages if message.role == "assistant"]
    last = answers[-1] if answers else None
    found: dict[str, Value] = {
        "title": chat.title,
        "id": chat.id,
        "created": _moment(chat.created_at),
        "updated": _moment(chat.updated_at),
        "preset": last.preset if last else chat.preset,
        "model": _model(last.model) if last else None,
        "backend": last.backend if last else None,
    }
    kinds = list(dict.fromkeys((one.preset, _model(one.model), one.backend) for one in answers))
    if len(kinds) > 1:
        by: list[dict[str, Scalar]] = [{"preset": one[0], "model": one[1], "backend": one[2]} for one in kinds]
        found["answered_by"] = by
    if chat.asking is not None:
        asked = {name: getattr(chat.asking, name) for name in chat.asking.names}
        found |= {_ASKED.get(name, name): value for name, value in asked.items()}
    found["messages"] = len(exported.messages)
    if exported.others:
        found["messages_in_other_branches"] = exported.others
    money: list[dict[str, Scalar]] = [
        {"amount": nano / NANO, "currency": name} for name, nano in sorted(total.money.items())
    ]
    found |= {
        "prompt_tokens": total.prompt_tokens,
        "cached_tokens": total.cached_tokens,
        "reasoning_tokens": total.reasoning_tokens,
        "output_tokens": total.output_tokens,
        "time_s": None if total.seconds is None else round(total.seconds, 3),
        "energy_j": None if total.energy_uj is None else total.energy_uj / MICRO,
        "energy_estimated_j": None if total.energy_uj is None else total.estimated_uj / MICRO,
        "cost": money,
        "cost_assumed_tariff": total.assumed,
        "answers": len(answers),
        "answers_with_energy": sum(one.energy is not None for one in answers),
        "answers_with_cost": sum(one.cost is not None for one in answers),
    }
    return found


def _message(message: StoredMessage, *, thoughts: bool) -> Iterator[str]:
    if message.context_start is not None:
        yield f"---\n\n*{LEFT_OUT[0].upper()}{LEFT_OUT[1:]}.*"
        if message.context_start:
            yield "In its place, a summary:"
            yield contained(clean(message.context_start))
    head = (who(message), when(message.created_at), ending(message))
    yield "## " + escaped(" · ".join(part for part in head if part))
    if message.reasoning and thoughts:
        said = thought(message)
        yield f"<details>\n<summary>{said[0].upper()}{said[1:]}</summary>"
        yield contained(clean(message.reasoning))
        yield "</details>"
    if message.text.strip():
        yield contained(clean(message.text))
    if message.error is not None:
        told = (message.error.title, message.error.detail)
        yield "> **" + escaped(": ".join(clean_line(line) for line in told if line)) + "**"
    figures = took(message)
    if figures:
        yield f"*{escaped(figures)}*"


def _moment(unix_s: float) -> datetime.datetime | None:
    if not math.isfinite(unix_s):
        return None
    try:
        return datetime.datetime.fromtimestamp(unix_s, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _model(model: str | None) -> str | None:
    """Return how a model is called: where its file lies is nobody's business who reads the document."""
    return Path(model).name if model is not None and model.startswith("/") else model
