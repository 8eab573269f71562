"""Set up `.venv` for this checkout: `python3 -m tools.bootstrap [--test] [--again]`, in the checkout's root.

Any Python from 3.6 on can read this file, so that an old one can say what it lacks.
"""

import sys

REQUIRED = (3, 11)


def main() -> int:
    """Refuse an old Python in plain words; otherwise set up and return the exit status."""
    if sys.version_info < REQUIRED:
        found = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
        sys.stderr.write(
            f"deepseek-tui needs Python 3.11 or newer, but this is {found} ({sys.executable}).\n"
            "Install a newer one (Debian, Ubuntu: sudo apt install python3.11 python3.11-venv), then\n"
            "name it: make run PYTHON=python3.11\n"
        )
        return 1
    from tools import installer

    return installer.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
