"""The arguments of `deepseek-tui`. A command's own module is imported only where its name occurs."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import NoReturn, Protocol, cast

COMMANDS = {
    "ask": "answer one question on stdout",
    "presets": "list, show, check, write and change presets",
    "models": "show what models take on this machine and what uses them, and remove them",
    "plan": "what this machine, or another, can run, how fast, and why",
    "pull": "fetch models, and show how far they are",
    "quantize": "make a smaller model of one by a recipe, and say before what this machine will do with it",
    "chats": "what was said: list, search, export, import, and keep it in order",
    "usage": "tokens, energy and money over time",
    "ps": "show the models that are loaded, and what is fetched, made and measured",
    "stop": "end loaded models and free their memory, and end jobs",
    "backends": "show which engines and servers can be used here, and their options",
    "origins": "list, confirm and forget servers, and keep their keys",
    "keys": "list the keys of the screen, with the ids that settings call them by",
    "bench": "measure how fast a preset is on this machine",
    "doctor": "find out what is wrong with this machine, and how to mend it",
}
SHELLS = ("bash", "zsh", "tcsh")

_EPILOG = """\
examples:
  deepseek-tui                                  open the screen
  deepseek-tui -p 14b-q3_k_s-offload            open it with this preset
  deepseek-tui ask "Why is the sky blue?"       one answer on stdout
  git diff | deepseek-tui ask "Review this:"    with standard input below the question
  deepseek-tui presets                          what can be run here
  deepseek-tui pull 8b-q4_k_m                   fetch what a preset needs
  deepseek-tui quantize 32b-mixed-ssd           make a preset's model by its recipe; what comes of it is said before
  deepseek-tui plan                             what fits on this machine, how fast, and why
  deepseek-tui doctor                           what is missing, and the command that mends it

exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped
Settings are in config.toml in the config folder; DEEPSEEK_TUI_PRESET, DEEPSEEK_TUI_KEEP_ALIVE_S,
DEEPSEEK_TUI_THEME, DEEPSEEK_TUI_PROFILE and DEEPSEEK_TUI_LANGUAGE override them, and DEEPSEEK_TUI_HOME puts every file
under one folder."""


class Command(Protocol):
    """What the module of a command has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; return the exit status. Raises Problem."""


class Parser(argparse.ArgumentParser):
    """Help as it was written, and errors in the form of all others."""

    def error(self, message: str) -> NoReturn:
        from tui.commands import output

        output.warn(f"{self.prog}: {message}\n{self.format_usage().strip()}\n`{self.prog} --help` tells more.")
        raise SystemExit(output.USAGE)


def build(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser. Commands that do not occur in `arguments` are only named; None describes all of them."""
    parser = Parser(
        prog="deepseek-tui",
        description="Chat with DeepSeek-R1, or another model, on the card you have. Without a command: the screen.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_choice(parser)
    parser.add_argument("-c", "--chat", metavar="CHAT", help='open this chat: its id, the beginning of it, or "last"')
    parser.add_argument(
        "--profile",
        choices=("local", "ssh", "plain"),
        help="draw for a terminal here, for one at the end of a line, or say everything in plain lines",
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument(
        "--print-completion", dest="completion", choices=SHELLS, help="print completion for a shell, to be sourced"
    )
    # A metavar, because the usage line would list the commands twice.
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=Parser)
    for name, what in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=what,
            description=what[0].upper() + what[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if arguments is None or name in arguments:
            command(name).configure(subparser)
    return parser


def command(name: str) -> Command:
    """Import the module of a command."""
    return cast("Command", importlib.import_module(f"tui.commands.{name}"))


def add_choice(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add `-p` and `-b`: who is to answer. In a command, SUPPRESS keeps what stood before the command's name."""
    preset = parser.add_argument(
        "-p", "--preset", metavar="PRESET", default=default, help="which preset; `deepseek-tui presets` lists them"
    )
    preset.complete = PRESET_COMPLETION  # type: ignore[attr-defined]  # shtab reads it
    parser.add_argument(
        "-b", "--backend", metavar="BACKEND", default=default, help="which of the preset's backends, such as llama_cpp"
    )


def add_json(parser: argparse.ArgumentParser, default: bool | str = False) -> None:
    """Add `--json` to a command that reads."""
    parser.add_argument("--json", action="store_true", default=default, help="print one JSON object instead")


def add_no_measure(parser: argparse.ArgumentParser) -> None:
    """Add `--no-measure` to a command that plans for this machine."""
    parser.add_argument("--no-measure", action="store_true", help="do not measure this machine where it never was")


FILE_COMPLETION = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
PRESET_OR_FILE_COMPLETION = {
    "bash": "_deepseek_tui_presets_and_files",
    "zsh": "{_deepseek_tui_presets; _files}",
    "tcsh": "f",
}
RECIPE_COMPLETION = {
    "bash": "_deepseek_tui_recipes",
    "zsh": "{_deepseek_tui_recipes}",
    "tcsh": "`deepseek-tui quantize --recipes --names`",
}
PRESET_COMPLETION = {
    "bash": "_deepseek_tui_presets",
    "zsh": "{_deepseek_tui_presets}",
    "tcsh": "`deepseek-tui presets list --names`",
}


def _version() -> str:
    from backends.version import VERSION

    return f"deepseek-tui {VERSION}"
