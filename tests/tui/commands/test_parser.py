"""The front door: help, version, completion, wrong usage, unexpected errors, and what is not imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tui.commands import parser

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Write


def test_help_teaches_with_examples_and_exit_codes(run: Run) -> None:
    ran = run("--help")
    assert ran.status == 0
    assert "examples:" in ran.out
    assert "exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped" in ran.out
    for name in parser.COMMANDS:
        assert f"\n    {name} " in ran.out
        assert run(name, "--help").status == 0


def test_the_version_is_that_of_the_package(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version").out == f"deepseek-tui {version('deepseek-tui')}\n"


@pytest.mark.parametrize("arguments", [["nonsense"], ["ask", "--bogus", "x"], ["-x"], ["chats", "show"]])
def test_wrong_usage_is_status_2_and_names_the_help(run: Run, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert "--help` tells more" in ran.err


def test_the_screen_without_a_terminal_says_what_to_do_instead(run: Run) -> None:
    ran = run()
    assert (ran.status, ran.out) == (2, "")
    assert "deepseek-tui ask" in ran.err


def test_the_screen_on_a_dumb_terminal_says_what_to_do_instead(tmp_path: Path) -> None:
    import pexpect

    from tests.tui.commands.conftest import COMMAND

    child = pexpect.spawn(
        COMMAND[0], list(COMMAND[1:]), env={"TERM": "dumb", "PATH": "/bin"}, cwd=str(tmp_path), timeout=15
    )
    child.expect("deepseek-tui ask")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 2


@pytest.mark.parametrize("shell", parser.SHELLS)
def test_completion_knows_commands_and_where_presets_come_from(run: Run, shell: str, tmp_path: Path) -> None:
    ran = run("--print-completion", shell)
    assert ran.status == 0
    assert "--show-thinking" in ran.out or shell == "tcsh"
    assert "presets list --names" in ran.out
    if shutil.which(shell):
        script = tmp_path / "completion"
        script.write_text(ran.out)
        assert subprocess.run([shell, "-n", str(script)], check=False, timeout=20).returncode == 0


def test_bash_completes_the_names_of_presets(run: Run, preset: Write, tmp_path: Path) -> None:
    preset("mine")
    (tmp_path / "completion").write_text(run("--print-completion", "bash").out)
    script = (
        f'deepseek-tui() {{ {sys.executable} -P -m tui "$@"; }}; source completion;'
        ' COMP_WORDS=(deepseek-tui ask -p mi); COMP_CWORD=3; _shtab_deepseek_tui; echo "${COMPREPLY[@]}"'
    )
    bash = ["bash", "--norc", "-c", script]
    done = subprocess.run(bash, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=30)
    assert done.stdout.split() == ["mine"], done.stderr


def test_an_unexpected_error_is_no_traceback_unless_asked_for(run: Run, home: Path) -> None:
    code = (
        "import sys\nfrom tui.__main__ import main\nfrom tui.commands import ps\n"
        "ps.run = None  # A fault that nobody foresaw.\nsys.exit(main(['ps']))"
    )
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert plain.returncode == 1
    assert "Something went wrong that should not" in plain.stderr
    assert "TypeError" in plain.stderr
    assert "Traceback" not in plain.stderr
    loud = {"DEEPSEEK_TUI_DEBUG": "1", "DEEPSEEK_TUI_HOME": str(home)}
    debug = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=loud)
    assert "Traceback" in debug.stderr


def test_a_list_into_head_is_silent(tmp_path: Path) -> None:
    command = f"{sys.executable} -P -m tui presets show starter | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=30)
    assert (done.stdout, done.stderr) == ("Starter 135M\n", "")


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"asyncio", "sqlite3", "textual", "tomllib", "presets", "shtab"}),
        (["ask", "--help"], {"asyncio", "sqlite3", "textual", "presets", "shtab"}),
        (["ask", "-p", "starter", "--no-save", "hi"], {"textual", "rich", "shtab", "llama_cpp", "jinja2"}),
        (["ps"], {"textual", "rich", "shtab"}),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], unwanted: set[str]) -> None:
    code = (
        "import json, sys\nfrom tui.__main__ import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        env={"PATH": "/bin:/usr/bin", **_home(), "DEEPSEEK_TUI_KEEP_ALIVE_S": "0.05"},
    )  # fmt: skip
    assert set(json.loads(done.stderr.splitlines()[-1])) & unwanted == set()


def _home() -> dict[str, str]:
    import os

    return {name: os.environ[name] for name in ("HOME", "DEEPSEEK_TUI_HOME", "TERM", "LANG")}
