"""`deepseek-tui usage`: tokens, energy and money over time, from the receipts of all answers."""

from __future__ import annotations

import argparse
from typing import get_args

from presets.api_prices import load_api_prices
from presets.catalog import load_catalog
from tui.chat import recovery
from tui.chat.storing import paging
from tui.chat.storing.store import Store
from tui.chat.usage import Grouping, usage
from tui.commands import output, period
from tui.commands.usage_export import as_csv, as_json
from tui.commands.usage_table import chart, lines
from tui.settings import load_settings

_EPILOG = """\
examples:
  deepseek-tui usage                          this month, day by day
  deepseek-tui usage --by preset              this month, and what an answer of each preset costs
  deepseek-tui usage --by month               all months
  deepseek-tui usage --month 2026-11 --by chat
  deepseek-tui usage --since 2026-11-01 --until 2026-11-07 --chart
  deepseek-tui usage --all --csv > usage.csv  for a spreadsheet

Days and months are local. ~ stands before what is estimated or made with an assumed price, – for what is unknown.
Your price of electricity: price_per_kwh in the table [bill] of config.toml. Prices to compare with: api_prices.toml
in the config folder."""


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `usage`."""
    subparser.epilog = _EPILOG
    subparser.add_argument("--by", choices=get_args(Grouping), default="day", help="what a row is (day)")
    period.configure(subparser)
    form = subparser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object instead")
    form.add_argument("--csv", action="store_true", help="print comma-separated values instead")
    form.add_argument("--chart", action="store_true", help="draw bars instead")


def run(arguments: argparse.Namespace) -> int:
    """Add up and print; return the exit status. Raises Problem."""
    by: Grouping = arguments.by
    # All months, but only the days of one.
    chosen = period.chosen(arguments, whole=by == "month")
    # A wrong file is told before anything is taken in: what an answer cost is written down once.
    rates, prices = load_settings({}).bill, load_api_prices()
    store = Store(rates=rates)
    try:
        recovery.take_in_all(store)
        receipts = store.receipts(chosen.since_s, chosen.until_s)
        titles = {chat.id: chat.title for chat in paging.every(store)} if by == "chat" else {}
        empty = not receipts and not store.receipts()
    finally:
        store.close()
    used = usage(receipts, by, prices, titles, _published() if by == "preset" else {})
    if arguments.json:
        output.say_json(as_json(used, chosen, prices, rates))
    elif arguments.csv:
        output.say(as_csv(used))
    elif empty:
        output.say('There are no answers yet. Get one: deepseek-tui ask "Why is the sky blue?"')
    elif not receipts:
        output.say(f"There are no answers {chosen.words}. All there are: deepseek-tui usage --all")
    else:
        output.say(f"Usage {chosen.words}")
        for line in chart(used) if arguments.chart else lines(used, prices, rates):
            output.say(line)
    return output.DONE


def _published() -> dict[str, float]:
    """Return what others published for an answer, in US dollars, by preset."""
    found = {entry.name: entry.preset.published for entry in load_catalog().entries}
    return {name: said.usd_per_answer for name, said in found.items() if said is not None and said.usd_per_answer}
