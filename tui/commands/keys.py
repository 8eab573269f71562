"""`deepseek-tui keys`: every key of the screen with the id that config.toml calls it by."""

from __future__ import annotations

import argparse

from tui.commands import output, parser
from tui.commands.table import table, width
from tui.keys import now, reading
from tui.keys.table import KEYS, PLACES
from tui.keys.words import every
from tui.settings import load_settings
from tui.words import _

_EPILOG = """\
examples:
  deepseek-tui keys             all of them, place by place
  deepseek-tui keys retry       those whose id or meaning has the word

Other keys stand in config.toml, by id; several with commas between them, "" for none:
  [keys]
  "answer.retry" = "f12,ctrl+r"
exit codes: 0 done, 1 some of your keys cannot be used, 2 wrong usage"""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `keys`."""
    subparser.epilog = _EPILOG
    subparser.add_argument("word", metavar="WORD", nargs="?", default="", help="only those that have it")
    parser.add_json(subparser)


def run(arguments: argparse.Namespace) -> int:
    """Print the keys as they are now; return the exit status. Raises SettingsError."""
    problems = reading.take(load_settings({}).keys)
    word = arguments.word.casefold()
    names = [name for name, key in KEYS.items() if word in name or word in _(key.help).casefold()]
    if arguments.json:
        output.say_json({"keys": [_told(name) for name in names], "problems": [_problem(each) for each in problems]})
    else:
        _say(names)
        for each in problems:
            output.say_error(each)
    return output.FAILED if any(not each.used for each in problems) else output.DONE


def _say(names: list[str]) -> None:
    rows = [(name, _keys(name), _(KEYS[name].help)) for name in names]
    if rows:
        for line in table((_("ID"), _("KEYS"), _("WHAT")), rows, width()):
            output.say(line)


def _keys(name: str) -> str:
    """Return the keys of an id, marked where they are not those of the table."""
    return f"{every(name)} *" if now.of(name) != now.effective(name, {}) else every(name)


def _told(name: str) -> dict[str, object]:
    return {
        "id": name,
        "place": PLACES[name],
        "keys": list(now.of(name)),
        "default": list(now.effective(name, {})),
        "what": KEYS[name].help,
    }


def _problem(problem: reading.KeyProblem) -> dict[str, object]:
    return {
        "id": problem.key,
        "line": problem.line,
        "used": problem.used,
        "detail": problem.detail,
        "hint": problem.hint,
    }
