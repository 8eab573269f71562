"""`deepseek-tui doctor`: what is wrong with this machine, the most harmful first, and how to mend it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator

from backends.host import launch
from backends.version import build_id
from presets.catalog import load_catalog
from tui.commands import energy_checks, health, output, parser

_EPILOG = """\
Each line is ok, warn or fail; below it stands what mends it.
exit codes: 0 nothing fails, 1 something does, 2 wrong usage"""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    subparser.epilog = _EPILOG
    parser.add_json(subparser)


def run(arguments: argparse.Namespace) -> int:
    """Look at everything and say what was found; return the exit status."""
    found: list[health.Check] = []
    for check in _checks():
        found.append(check)
        if not arguments.json:
            output.say(f"{check.state:<4}  {check.name}: {check.found}")
            if check.fix and check.state != "ok":
                output.say(f"      → {check.fix}")
    failing = any(check.state == "fail" for check in found)
    if arguments.json:
        output.say_json({"ok": not failing, "build": build_id(), "checks": found})
    return output.FAILED if failing else output.DONE


def _checks() -> Iterator[health.Check]:
    """Yield every finding, in the order of the harm that it does."""
    yield from health.guarded("python", health.python)
    yield from health.guarded("folders", health.folders)
    yield from health.guarded("conversations", health.database)
    yield from health.guarded("settings", health.settings)
    yield from health.guarded("socket path", health.sockets)
    cards = health.read_cards()
    catalog = load_catalog()
    yield from health.guarded("backends", lambda: health.backends(cards, catalog))
    yield from health.guarded("cards", lambda: health.graphics(cards))
    yield from health.guarded("memory", health.memory)
    yield from health.guarded("energy", energy_checks.energy)
    yield from health.guarded("tariff", energy_checks.tariff)
    yield from health.guarded("presets", lambda: health.presets(catalog))
    yield from health.guarded("loaded models", lambda: health.hosts(asyncio.run(launch.survey())))
    yield from health.guarded("terminal", health.screen)
