"""`deepseek-tui plan`: what this machine, or another, can run; which layers go where, how fast it is, and why."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

from backends.base import Cancel
from backends.errors import Problem
from presets.catalog import find, load_catalog
from presets.plan import PLANNED, plan_preset
from presets.reference import machine_names
from presets.schema import PresetEntry, source_for
from presets.sources import HuggingFace, locate, parse
from tui.commands import output, parser, plan_json, plan_text
from tui.commands.elsewhere import offers
from tui.commands.machines import planned_machine, uses_cards
from tui.plans.spent import answer_costs
from tui.settings import rates

_MOST_TOKENS = 1 << 24  # as for a preset
_HEARS_S = 0.2
_EPILOG = f"""\
examples:
  deepseek-tui plan                             every preset on this machine, each figure explained
  deepseek-tui plan 14b --context 16384         one preset with a longer context
  deepseek-tui plan --machine rtx3070-8gb-32gb  on a machine that you do not have
  deepseek-tui plan --brief                     only the table

machines: {", ".join(machine_names())};
or a TOML file of your own: `deepseek-tui plan --this-machine > mine.toml` writes this machine as one.
exit codes: 0 done, 1 failed, 2 wrong usage"""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `plan`."""
    subparser.epilog = _EPILOG
    named = subparser.add_argument("presets", nargs="*", metavar="PRESET", help="only these; none means all")
    named.complete = parser.PRESET_COMPLETION  # type: ignore[attr-defined]  # shtab reads it
    subparser.add_argument("--machine", metavar="NAME|FILE", help="plan for another machine than this")
    subparser.add_argument("--context", type=_tokens, metavar="N", help="tokens, instead of the preset's own")
    subparser.add_argument("--brief", action="store_true", help="only the table")
    subparser.add_argument(
        "--fetch-headers", action="store_true", help="read the first megabytes of models that are not here yet"
    )
    parser.add_no_measure(subparser)
    subparser.add_argument("--this-machine", action="store_true", help="print this machine as TOML, and no plan")
    parser.add_json(subparser)


def run(arguments: argparse.Namespace) -> int:
    """Plan; return the exit status. Raises Problem."""
    catalog = load_catalog()
    entries = [find(catalog, name) for name in arguments.presets] or list(catalog.entries)
    here = arguments.machine is None
    machine = planned_machine(arguments.machine, catalog.entries, measure=not arguments.no_measure)
    if arguments.this_machine:
        from presets.machine_files import to_toml

        output.say(to_toml(machine).rstrip())
        return output.DONE
    if arguments.fetch_headers:
        _fetch_headers(entries)
    if not arguments.presets:
        for problem in catalog.problems:
            output.warn(f"{problem.title}: {problem.detail}. `deepseek-tui presets check {problem.name}` tells more.")
    usable = uses_cards(machine, here=here)
    plans = [plan_preset(entry, machine, context=arguments.context, here=here, card_usable=usable) for entry in entries]
    costs = answer_costs() if here else {}
    if arguments.json:
        output.say_json(plan_json.document(machine, plans, rates(), costs))
    else:
        for line in plan_text.lines(machine, plans, rates(), costs, short=arguments.brief):
            output.say(line)
        if here:
            for line in offers(entries):
                output.say(line)
    return output.DONE


def _fetch_headers(entries: list[PresetEntry]) -> None:
    """Fetch the headers of what is not here; a failure is said, and the plan goes on by rules."""
    from presets.shapes import fetch_shape

    wanted = []
    for entry in entries:
        with contextlib.suppress(Problem):
            if PLANNED in entry.preset.backends:
                source = parse(source_for(entry.preset, PLANNED, name=entry.name))
                if isinstance(source, HuggingFace) and not locate(source).present:
                    wanted.append((entry, source))
    cancel = Cancel()
    with _interrupts() as interrupts, ThreadPoolExecutor(max_workers=4) as pool:
        begun = [(entry, pool.submit(partial(fetch_shape, source, cancel=cancel))) for entry, source in wanted]
        for entry, work in begun:
            while not interrupts and not wait([work], _HEARS_S).done:
                pass
            if interrupts:
                # Whoever gives up does not want to wait for a server that is silent.
                pool.shutdown(wait=False, cancel_futures=True)
                cancel.set()
                raise KeyboardInterrupt
            try:
                work.result()
            except Problem as problem:
                output.warn(f"{entry.name}: {problem} {problem.hint}".rstrip())


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Give a list that every Ctrl+C is put into. As an exception it could be raised where Python drops it."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _tokens(text: str) -> int:
    try:
        tokens = int(text)
    except ValueError:
        tokens = 0
    if not 256 <= tokens <= _MOST_TOKENS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens from 256 to {_MOST_TOKENS}")
    return tokens
