"""`deepseek-tui ask`: one answer on stdout, as it is generated."""

from __future__ import annotations

import argparse

from backends.errors import Problem, to_info
from tui.commands import output, parser, wishes

_EPILOG = """\
examples:
  deepseek-tui ask "Why is the sky blue?"
  git diff | deepseek-tui ask "Review this change:"
  deepseek-tui ask - < question.txt
  deepseek-tui ask -c last "And on Mars?"
  deepseek-tui ask --system "Answer in one sentence." --temperature 0.2 "What is a semaphore?"
  deepseek-tui ask --json --no-save "What is 2+2?" | jq -r 'select(.event == "text").text' | tr -d '\\n'

The question may come from standard input too: it then follows the words, after a blank line.
Without -p the preset is the settings', else the last one used, else the first whose model is here.
A system prompt and sampling stay with the chat: -c asks so again, here and on the screen.
What the model says is made harmless for the terminal; --raw leaves it as it is.
If another model is answering, this waits in line and says so on stderr.
Ctrl+C stops the answer and keeps what was said; a second one leaves at once.

exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped"""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `ask`."""
    subparser.epilog = _EPILOG
    parser.add_choice(subparser, argparse.SUPPRESS)
    subparser.add_argument(
        "-c", "--chat", metavar="CHAT", default=argparse.SUPPRESS, help='go on with this chat: its id, or "last"'
    )
    subparser.add_argument("--json", action="store_true", help='print one JSON object a line; the last is "done"')
    subparser.add_argument("--no-save", action="store_true", help="keep nothing of it on disk")
    subparser.add_argument("--show-thinking", action="store_true", help="print thoughts too, in <think> … </think>")
    subparser.add_argument("--raw", action="store_true", help="print control characters as the model says them")
    subparser.add_argument("--evict", action="store_true", help="end another model even while it is answering")
    subparser.add_argument("prompt", nargs="*", metavar="PROMPT", help="the question; - reads standard input")
    wishes.configure(subparser)
    subparser.set_defaults(usage_error=subparser.error)


def run(arguments: argparse.Namespace) -> int:
    """Ask, print the answer, and return the exit status."""
    try:
        return _ask(arguments)
    except Problem as problem:
        if not arguments.json:
            raise
        return _fail_in_json(problem)


def _ask(arguments: argparse.Namespace) -> int:
    from tui.commands import prompt

    text = prompt.read(arguments.prompt)
    if not text:
        arguments.usage_error("there is no question")
    import asyncio

    from tui.chat.asking import NOTHING
    from tui.chat.storing import shelf
    from tui.chat.storing.store import Store
    from tui.commands.asking import Asking, going_on
    from tui.commands.choice import choose
    from tui.commands.printing import JsonPrinter, Printer, TextPrinter
    from tui.settings import load_settings, rates

    if arguments.no_save and arguments.chat is not None:
        arguments.usage_error("--no-save keeps nothing, and --chat goes on with what is kept")
    store = None if arguments.no_save else Store(rates=rates())
    try:
        chat = None if store is None or arguments.chat is None else going_on(store, arguments.chat)
        target = choose(arguments.preset, arguments.backend, load_settings(), store, chat)
        before = chat.asking if chat is not None else None
        wish = wishes.wished(arguments, before or NOTHING)
        target = target.asked_so(wish)
        if wish.context is not None and not target.can_grow:
            output.warn(f"{target.title} is loaded as it is: its backend cannot be told a context.")
        if target.server:
            _confirmed(target.server)
        printer: Printer = (
            JsonPrinter(rates()) if arguments.json else TextPrinter(thoughts=arguments.show_thinking, raw=arguments.raw)
        )
        if store is not None and chat is not None and wish != (before or NOTHING):
            chat = shelf.ask_so(store, chat, wish)
        asking = Asking(target, store, printer, chat, wish, thoughts=arguments.show_thinking, quiet=arguments.json)
        return asyncio.run(asking.run(text, evict="busy" if arguments.evict else "idle"))
    finally:
        if store is not None:
            store.close()


def _confirmed(server: str) -> None:
    """Ask on a terminal whether a new server may be sent conversations. Raises NewOrigin if it may not."""
    from backends import origins
    from backends.errors import NewOrigin
    from tui.settings import confirm_origin

    try:
        origins.access(server)
    except NewOrigin as new:
        if not (output.is_terminal(0) and output.is_terminal(2)):
            raise
        if new.detail.startswith("http:"):
            output.warn("The line there is not encrypted: whoever is between here and there can read along.")
        output.prompt(f"Send this conversation to {new.detail}, a server that is new? [y/N] ")
        if input().strip().lower() not in {"y", "yes"}:
            raise
        confirm_origin(new.detail)


def _fail_in_json(problem: Problem) -> int:
    """Tell an error from before the answer as the stream would have told it."""
    import sys

    from tui.chat import turn
    from tui.chat.answer import Answer
    from tui.commands.printing import JsonPrinter

    answer = Answer()
    turn.fail(answer, to_info(problem))
    sys.stdout.write(JsonPrinter().end(answer, None, None).decode())
    return output.FAILED
