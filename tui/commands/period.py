"""A period of the local calendar, as it is said on the command line: a month, days from and to, or all time."""

from __future__ import annotations

import argparse
import datetime
import re

import msgspec

_FIRST_YEAR, _LAST_YEAR = 1970, 9998


class Period(msgspec.Struct, frozen=True):
    """From `since_s` on and before `until_s`, in Unix seconds, None without a bound; `words` stand after "in" or so."""

    since_s: float | None
    until_s: float | None
    words: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say a period."""
    parser.add_argument("--since", type=_day, metavar="DATE", help="from this day on, such as 2026-11-01")
    parser.add_argument("--until", type=_day, metavar="DATE", help="up to this day, which counts too")
    parser.add_argument("--month", type=_month, metavar="YYYY-MM", help="this month alone, such as 2026-11")
    parser.add_argument("--all", action="store_true", help="from the first answer on")
    parser.set_defaults(usage_error=parser.error)


def chosen(arguments: argparse.Namespace, *, whole: bool = False) -> Period:
    """Return the period that the arguments say; without any the current month, or all time where `whole`.

    Exits with a usage error if they contradict each other.
    """
    since, until, month = arguments.since, arguments.until, arguments.month
    if ((month or arguments.all) and (since or until)) or (month and arguments.all):
        arguments.usage_error("say one of --month, --all, or --since and --until")
    if since and until and until < since:
        arguments.usage_error(f"--until {until} is before --since {since}")
    if since or until:
        said = (f"since {since}" if since else "", f"until {until}" if until else "")
        words = f"on {since}" if since and since == until else " ".join(filter(None, said))
        return Period(_start(since) if since else None, _start(_next_day(until)) if until else None, words)
    if arguments.all or (whole and not month):
        return Period(None, None, "so far")
    return _of_month(month or datetime.date.today())


def _of_month(day: datetime.date) -> Period:
    first = day.replace(day=1)
    following = (first + datetime.timedelta(days=31)).replace(day=1)
    return Period(_start(first), _start(following), f"in {first:%Y-%m}")


def _start(day: datetime.date) -> float:
    """Return the first moment of a local day: also where the clock skips midnight, or has it twice."""
    return datetime.datetime(day.year, day.month, day.day).timestamp()


def _next_day(day: datetime.date) -> datetime.date:
    return day + datetime.timedelta(days=1)


def _day(text: str) -> datetime.date:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        try:
            return _known(datetime.date.fromisoformat(text))
        except ValueError:
            pass
    example = datetime.date.today()
    raise argparse.ArgumentTypeError(f"{text!r} is no date: write it as year-month-day, such as {example:%Y-%m-%d}")


def _month(text: str) -> datetime.date:
    if re.fullmatch(r"\d{4}-\d{2}", text, re.ASCII):
        try:
            return _known(datetime.date.fromisoformat(f"{text}-01"))
        except ValueError:
            pass
    example = datetime.date.today()
    raise argparse.ArgumentTypeError(f"{text!r} is no month: write it as year-month, such as {example:%Y-%m}")


def _known(day: datetime.date) -> datetime.date:
    """Return a day that the clock of this machine can tell. Raises ValueError."""
    if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
        raise ValueError
    return day
