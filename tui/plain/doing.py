"""What the commands do with the answer and the model of a plain conversation."""

from __future__ import annotations

from functools import partial

from backends.base import Availability
from backends.titles import backend_title
from presets.plan import outlook
from presets.schema import PresetEntry, source_for
from presets.sources import locate, parse
from tui.chat.clean import clean_line
from tui.chat.storing.stored import StoredMessage
from tui.chat.switching import next_backend
from tui.chat.target import resolve
from tui.plain import told
from tui.plain.speaking import say
from tui.plain.talk import Talk
from tui.words import _


def retry(talk: Talk, _rest: str) -> None:
    """Answer the last question once more."""
    if not talk.session.branch:
        say(_("Nothing was asked yet."))
        return
    talk.loop.call(talk.session.retry())
    talk.follow()


def resume(talk: Talk, _rest: str) -> None:
    """Go on with the last answer where it was cut off."""
    last = talk.following.last()
    if last is None:
        say(_("There is no answer to go on with."))
        return
    talk.loop.call(talk.session.resume())
    talk.follow(already=len(last.text))


def edit(talk: Talk, _rest: str) -> None:
    """Let the last question stand at the prompt; what it becomes is asked beside it."""
    question = next((message for message in reversed(talk.session.branch) if message.role == "user"), None)
    if question is None:
        say(_("Nothing was asked yet."))
        return
    talk.edited, talk.prefilled = question.id, question.text
    say(_("Change the question; Enter asks it beside the old one."))


def thought(talk: Talk, _rest: str) -> None:
    """Read the last thought out."""
    last = next((message for message in reversed(talk.session.branch) if message.reasoning), None)
    if last is None:
        say(_("There is no thought."))
        return
    say(told.thought(last.thought_s, last.usage.reasoning_tokens if last.usage is not None else None) + ":")
    say(last.reasoning.strip("\n"))


def before(talk: Talk, _rest: str) -> None:
    """Go to the version before of the last answer."""
    _walk(talk, -1)


def after(talk: Talk, _rest: str) -> None:
    """Go to the version after of the last answer."""
    _walk(talk, 1)


def presets(talk: Talk, _rest: str) -> None:
    """List what can answer, a line each."""
    chosen = talk.session.target.preset if talk.session.target is not None else ""
    for entry in talk.catalog.entries:
        backend = entry.preset.backend
        state = outlook(entry, backend, locate(parse(source_for(entry.preset, backend, name=entry.name)))).line
        key = f"{entry.preset.slot}. " if entry.preset.slot else ""
        answers = _("It answers now.") if entry.name == chosen else ""
        say(f"{key}{entry.name}: {clean_line(entry.preset.title)}, {state}. {answers}".rstrip())


def preset(talk: Talk, rest: str) -> None:
    """Answer with another preset, by its name or its key. Raises Problem."""
    from presets.catalog import find

    keyed = next((entry for entry in talk.catalog.entries if rest and str(entry.preset.slot) == rest), None)
    if not rest:
        presets(talk, rest)
        return
    entry = keyed or find(talk.catalog, rest)
    target = resolve(entry, None, talk.settings.keep_alive_s)
    talk.loop.look(lambda: talk.session.choose(target))
    say(_("{title} answers from now on.").format(title=target.title))


def backend(talk: Talk, _rest: str) -> None:
    """Answer with the preset's next backend, and tell why those before it cannot be used. Raises Problem."""
    from backends import registry  # It is seldom needed.

    target = talk.session.target
    entry: PresetEntry | None = talk.entry(target.preset) if target is not None else None
    if target is None or entry is None:
        say(_("No preset is chosen."))
        return

    def probe(name: str, options: dict[str, object]) -> Availability:
        return registry.probe(name, options=options)

    found = next_backend(entry, target.spec.backend, talk.settings.keep_alive_s, probe)
    for refusal in found.refusals:
        say(refusal.sentence)
    if found.target is None:
        only = backend_title(target.spec.backend)
        say(_("{title} has only {backend} here.").format(title=target.title, backend=only))
        return
    talk.loop.look(partial(talk.session.choose, found.target))
    title, name = found.target.title, backend_title(found.target.spec.backend)
    say(_("{title} answers with {backend} from now on.").format(title=title, backend=name))


def free(talk: Talk, _rest: str) -> None:
    """Give the memory of models back. Raises Problem."""
    talk.loop.call(talk.session.unload())
    say(_("The memory is free. The next question loads the model again."))


def plan(_talk: Talk, rest: str) -> None:
    """Tell what fits this machine: in short, or everything about one preset. Raises Problem."""
    _command(["plan", "--no-measure", *(rest.split() or ["--brief"])])


def usage(_talk: Talk, rest: str) -> None:
    """Tell tokens, energy and money. Raises Problem."""
    _command(["usage", *rest.split()])


def leave(talk: Talk, _rest: str) -> None:
    """Leave."""
    talk.leaving = True


def _walk(talk: Talk, step: int) -> None:
    last = talk.following.last()
    if last is None or last.id not in talk.session.versions:
        say(_("There is one version. /retry makes another."))
        return
    there = talk.loop.call(talk.session.walk(last.id, step))
    message: StoredMessage | None = talk.following.last()
    if there == last.id or message is None:
        say(_("This is the last version.") if step > 0 else _("This is the first version."))
        return
    number, many = talk.session.versions.get(message.id, (1, 1))
    say(_("Version {number} of {many}:").format(number=number, many=many))
    say(message.text)


def _command(arguments: list[str]) -> None:
    """Do what a command of the command line does. Raises Problem."""
    from tui.commands import parser

    try:
        parsed = parser.build(arguments).parse_args(arguments)
        parser.command(parsed.command).run(parsed)
    except SystemExit:  # Wrong usage, and told already.
        return
