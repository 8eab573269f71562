"""Signals that end us do so, even while something holds up the event loop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import asyncio, sys, time
from tui.hang_up import HangUp

def held_up():
    until = time.monotonic() + 30
    while time.monotonic() < until:
        {hold}

async def main():
    ending = HangUp(screen=False, restore=lambda: print("restored", flush=True))
    ending.leave_when_told(lambda: print("told", flush=True))
    print("begun", flush=True)
    held_up()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("hold", "number", "seconds"), [("time.sleep(30)", signal.SIGHUP, 2.5), ("pass", signal.SIGTERM, 4.5)]
)
def test_it_ends_whatever_the_event_loop_does(hold: str, number: signal.Signals, seconds: float) -> None:
    command = [sys.executable, "-c", PROGRAM.format(hold=hold)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        program.send_signal(number)
        began = time.monotonic()
        program.wait(seconds + 5)
        assert time.monotonic() - began <= seconds
        assert program.returncode
        # Who only asks us to end has a terminal, and wants it back.
        assert ("restored" in program.stdout.read()) == (number == signal.SIGTERM)
