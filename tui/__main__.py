"""`deepseek-tui`: the screen, or one of the commands. Only what the chosen command needs is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    _fill_standard_descriptors()
    from tui.commands import output

    try:
        _fix_home()
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return output.STOPPED
    except BrokenPipeError:
        # The reader has what it wanted. Python must not write the rest when it ends.
        output.forget_stdout()
        return output.DONE
    except Exception as error:
        if os.environ.get("DEEPSEEK_TUI_DEBUG"):
            raise
        from backends.errors import Problem

        output.forget_stdout()
        output.say_error(error if isinstance(error, Problem) else output.unexpected(error))
        return output.FAILED
    return status


def _run(arguments: list[str]) -> int:
    from tui.commands import parser

    parsed = parser.build(arguments).parse_args(arguments)
    if parsed.completion:
        from tui.commands import completion

        return completion.run(parsed.completion)
    if parsed.command:
        return parser.command(parsed.command).run(parsed)
    from tui.commands import screen

    return screen.run(parsed)


def _fix_home() -> None:
    """Write our home from the root on: the processes that are started work in another folder."""
    from pathlib import Path

    if home := os.environ.get("DEEPSEEK_TUI_HOME"):
        os.environ["DEEPSEEK_TUI_HOME"] = str(Path(home).expanduser().absolute())


def _fill_standard_descriptors() -> None:
    """Open a closed 0, 1 or 2 on nothing: else the next file opened, the database say, is what gets printed to."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    sys.exit(main())
