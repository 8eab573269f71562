"""How a missing package gets into the environment that this program runs in, whichever is active in the shell."""

from __future__ import annotations

import shlex
import sys


def install_command(*arguments: str) -> str:
    """Return the command that installs packages for this very Python."""
    return shlex.join([sys.executable, "-m", "pip", "install", *arguments])
