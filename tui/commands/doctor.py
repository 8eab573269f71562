"""`deepseek-tui doctor`: what is wrong with this machine, the most harmful first, and how to mend it."""

from __future__ import annotations

import argparse
import os
from typing import Any

from backends.version import build_id
from tui.chat.clean import clean_line
from tui.checks.check import MEANS, Check, State
from tui.commands import output, parser
from tui.commands.table import fitted, width

_EPILOG = """\
First what fails, then the warnings, each with what it means and with what mends it; then what is in order.
--report prints one text for a bug report, without names, keys and anything that was said.
exit codes: 0 nothing fails, 1 something does, 2 wrong usage"""
_ERASE = "\r\x1b[K"


def configure(subparser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    subparser.epilog = _EPILOG
    how = subparser.add_mutually_exclusive_group()
    parser.add_json(how)  # type: ignore[arg-type]  # a group takes arguments as a parser does
    how.add_argument("--report", action="store_true", help="print one text for a bug report, to be read and posted")


def run(arguments: argparse.Namespace) -> int:
    """Look at everything and say what was found; return the exit status."""
    from tui.checks import everything

    try:
        ground, checks = everything.look(_tell)
    finally:
        _tell("")
    failing = any(check.state == "fail" for check in checks)
    if arguments.json:
        output.say_json({"ok": not failing, "build": build_id(), "checks": list(map(_told, checks))})
    elif arguments.report:
        from tui.checks.report import report

        output.say(report(ground, checks).rstrip())
    else:
        _say(checks)
    return output.FAILED if failing else output.DONE


def _told(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "state": check.state,
        "found": check.found,
        "fix": check.fix,
        "harm": MEANS[check.harm],
    }


def _say(checks: list[Check]) -> None:
    """Say the sum, then what is wrong in full, then what is in order in a line each."""
    counts: dict[State, int] = {"fail": 0, "warn": 0, "ok": 0}
    for check in checks:
        counts[check.state] += 1
    output.say(_sum(counts))
    for check in checks:
        if check.state != "ok":
            output.say(f"\n{check.state:<4}  {clean_line(f'{check.name}: {check.found}')}")
            if check.harm != "none":
                output.say(f"      {MEANS[check.harm]}")
            if check.fix:
                output.say(f"      → {clean_line(check.fix)}")
    output.say()
    columns = width()
    for check in checks:
        if check.state == "ok":
            line = clean_line(f"ok    {check.name}: {check.found}")
            output.say(fitted(line, columns) if columns is not None else line)


def _sum(counts: dict[State, int]) -> str:
    """Return one sentence on all findings."""
    fail, warn = counts["fail"], counts["warn"]
    if not fail and not warn:
        return f"All {counts['ok']} findings are in order."
    wrong = [f"{fail} {'fails' if fail == 1 else 'fail'}"] if fail else []
    wrong += [f"{warn} {'is a warning' if warn == 1 else 'are warnings'}"] if warn else []
    return f"Of {sum(counts.values())} findings {' and '.join(wrong)}, the most harmful first."


def _tell(doing: str) -> None:
    """Show on a terminal what is being looked at, in a line that is taken back; "" takes it back."""
    if output.is_terminal(2):
        try:
            os.write(2, f"{_ERASE}{f'looking at {doing} …' if doing else ''}".encode())
        except OSError:
            return
