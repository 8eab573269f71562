"""Running the command line inside the test's own process: for commands that start none, and tests of many runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.tui.commands.conftest import Ran, Run
from tui.__main__ import main
from tui.commands import output


def runner(patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> Run:
    """Return what runs a command to its end without a terminal, as the fixture `run` does."""
    patch.chdir(folder)
    patch.setattr(output, "forget_stdout", lambda: None)

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        with Path(os.devnull).open() as nothing:
            patch.setattr(sys, "stdin", nothing)
            patch.setattr(output, "is_terminal", lambda _: False)
            try:
                status = main(arguments)
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 1
        said = capsys.readouterr()
        return Ran(status, said.out, said.err)

    return call
