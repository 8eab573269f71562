"""`deepseek-tui chats`: what was said: listed, read, searched, kept in order, and carried out and in."""

from __future__ import annotations

import argparse

from tui.commands import chats_io, chats_list, chats_search, chats_shelf, chats_upkeep, parser

_ROOMS = (chats_list, chats_search, chats_io, chats_shelf, chats_upkeep)
_EPILOG = """\
examples:
  deepseek-tui chats                            the last 20
  deepseek-tui chats list --all                 every one, also those put aside
  deepseek-tui chats show 3f9c                  one, by the beginning of its id
  deepseek-tui chats show last                  the one used last
  deepseek-tui chats search sky blue            messages with both words, also thoughts; '"sky blue"' is a phrase
  deepseek-tui chats export last -o sky.md      as Markdown; also .txt, .json (whole, to be imported again)
  deepseek-tui chats export --all -o my-chats/  one file each
  deepseek-tui chats export --all --format jsonl | ssh box deepseek-tui chats import -
  deepseek-tui chats import messages.jsonl      also lists of messages, and what `ollama run` printed
  deepseek-tui chats rename 3f9c "Rayleigh scattering"
  deepseek-tui chats archive 3f9c               out of the list; --off puts it back
  deepseek-tui chats delete 3f9c                for good, with all that is kept of it
  deepseek-tui chats check                      whether the file is sound; `chats repair` mends it
  deepseek-tui chats backup chats.bak           a whole copy, also while others write
  deepseek-tui -c 3f9c                          go on with it on the screen"""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `chats`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)
    subparser.set_defaults(limit=chats_list.LIMIT, all=False, archived=False, deleted=False, act=chats_list.listed)
    actions = subparser.add_subparsers(dest="action", metavar="ACTION")
    for room in _ROOMS:
        room.configure(actions)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return the exit status. Raises Problem."""
    status: int = arguments.act(arguments)
    return status
