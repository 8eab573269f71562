"""What a person has to decide: what to do with a conversation that does not fit, whether a server may be asked.

Each is asked once, after what has happened, and nothing is done without an answer.
"""

from __future__ import annotations

import asyncio

from backends.base import Availability
from backends.errors import ModelNotFound, NewOrigin, ServerUnreachable
from backends.fitting import reserve
from backends.titles import backend_title
from tui.chat.overflow import Overflow
from tui.chat.session import Session
from tui.chat.target import Target
from tui.plain import prompt
from tui.plain.loop import Loop
from tui.plain.speaking import say
from tui.settings import confirm_origin
from tui.words import _, ngettext


def decide(loop: Loop, session: Session, found: Overflow) -> bool:
    """Ask what is to be done where the conversation no longer fits, and begin it. Raises Problem."""
    say(told(found))
    choices = ways(found)
    for place, (_way, text) in enumerate(choices, 1):
        say(f"{place}. {text}")
    say(_("Enter alone leaves it as it is."))
    try:
        said = prompt.answer(_("What is to be done? "))
    except (EOFError, KeyboardInterrupt):
        said = ""
    number = prompt.number(said, len(choices))
    way = choices[number - 1][0] if number is not None else ""
    match way:
        case "without":
            loop.call(session.remedies.go_on_without())
        case "larger":
            loop.call(session.remedies.enlarge())
        case "summary":
            loop.call(_summarise(session))
        case _:
            loop.look(session.remedies.drop)
            say(_("It stays as it is. /retry asks again."))
    return bool(way)


def told(found: Overflow) -> str:
    """Return how much is too much."""
    fit = found.fit
    tokens = f"{fit.tokens:,}" if fit.exact else _("about {figure}").format(figure=f"{fit.tokens:,}")
    text = _(
        "The conversation no longer fits. It has {tokens} tokens; the context holds {context}, of which {reserve} are "
        "kept for the answer."
    )
    return text.format(tokens=tokens, context=f"{fit.context:,}", reserve=f"{reserve(fit.context):,}")


def ways(found: Overflow) -> list[tuple[str, str]]:
    """Return the ways to go on that there are, each with its name and its sentence."""
    out = len(found.unsent)
    found_ways = []
    if found.start is not None:
        text = ngettext(
            "Go on without the oldest message. It stays here, and is not sent.",
            "Go on without the oldest {count} messages. They stay here, and are not sent.",
            out,
        )
        found_ways.append(("without", text.format(count=out)))
    if found.larger is not None:
        text = _("Load the model with a larger context: {tokens} tokens. It takes more memory.")
        found_ways.append(("larger", text.format(tokens=f"{found.larger:,}")))
    if found.start is not None and out:
        found_ways.append(("summary", _("Let the model write a summary of them first, which is sent in their place.")))
    return found_ways


def mend(loop: Loop, session: Session) -> bool:
    """Ask about what can be mended at once after the session's last failure; say whether it was begun again."""
    failure, target = session.failure, session.target
    if failure is None or target is None:
        return False
    session.failure = None  # It is asked about once.
    if failure.kind == NewOrigin.kind:
        mended = _confirmed(failure.detail)
    elif failure.kind == ServerUnreachable.kind:
        mended = _started(target)
    elif failure.kind == ModelNotFound.kind:
        say(_("`deepseek-tui pull {preset}` fetches its model.").format(preset=target.preset))
        return False
    else:
        return False
    if mended:
        last = session.branch[-1] if session.branch else None
        loop.call(session.retry() if last is not None and last.error == failure else _choose(session, target))
    return mended


def _confirmed(origin: str) -> bool:
    """Ask whether conversations may be sent to a new server, and write it down. Raises Problem."""
    say(
        _("Your questions and the answers so far would be sent to {server}, a server that is new.").format(
            server=origin
        )
    )
    if origin.startswith("http:"):
        say(_("The line is not encrypted: whoever is between here and there can read along."))
    if not prompt.sure(_("Send them?")):
        return False
    confirm_origin(origin)
    return True


def _started(target: Target) -> bool:
    """Ask whether to start the server that is missing, and do it. Raises Problem."""
    from backends import registry  # It is seldom needed.

    found: Availability = registry.probe(target.spec.backend, options=target.spec.options)
    if not found.startable:
        return False
    name = backend_title(target.spec.backend)
    say(_("{name} is not running. `{command}` would start it.").format(name=name, command=found.startable))
    if not prompt.sure(_("Start it?")):
        return False
    registry.start(target.spec.backend, target.spec.options)
    return True


async def _choose(session: Session, target: Target) -> None:
    session.choose(target)


async def _summarise(session: Session) -> None:
    session.remedies.summarise()
    await asyncio.sleep(0)
