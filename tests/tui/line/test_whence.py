"""Where the person sits, told by the environment, by the processes above, or by tmux."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tui.line.whence import Whence, parents, whence

LINE = "10.0.0.1 50000 10.0.0.2 22"
SAY = "import os; from tui.line.whence import whence; print(*whence({'PATH': os.environ['PATH']}))"


def test_what_sshd_has_set_tells_it() -> None:
    assert whence({"SSH_CONNECTION": LINE}).far
    assert whence({"SSH_TTY": "/dev/pts/3"}).far


@pytest.mark.parametrize("server", ["sshd", "sshd-session", "dropbear"])
def test_a_server_among_the_parents_tells_it_where_sudo_has_dropped_the_rest(tmp_path: Path, server: str) -> None:
    (tmp_path / server).symlink_to("/bin/sh")
    script = f"""sh -c '{sys.executable} -c "$SAY"; true'; true"""
    done = subprocess.run(
        [tmp_path / server, "-c", script], env=os.environ | {"SAY": SAY}, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"True started by {server}\n"


def test_parents_are_named_the_nearest_first() -> None:
    names = list(parents())
    assert names[0] == Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    assert list(parents(1)) == []
    assert list(parents(2**30)) == []


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Start a tmux in which a variable was set; return the environment that a program inside has."""
    if shutil.which("tmux") is None:
        pytest.skip("needs tmux")
    socket = tmp_path / "s"
    command = ["tmux", "-S", str(socket), "-f", "/dev/null"]

    def start(*told: str) -> dict[str, str]:
        subprocess.run(
            [*command, "new", "-d", "sleep 60"], check=True, env={"PATH": os.environ["PATH"], "TERM": "xterm"}
        )
        if told:
            subprocess.run([*command, "set-environment", *told], check=True)
        pid = subprocess.run([*command, "display", "-p", "#{pid}"], check=True, capture_output=True, text=True).stdout
        return {"PATH": os.environ["PATH"], "TMUX": f"{socket},{pid.strip()},0"}

    yield start
    subprocess.run([*command, "kill-server"], check=False)


def test_in_tmux_who_attached_last_counts_and_not_who_began_it(tmux) -> None:
    attached_here = tmux("-r", "SSH_CONNECTION")
    assert whence({**attached_here, "SSH_CONNECTION": LINE}) == Whence(far=False, why="tmux was attached here")


def test_in_tmux_a_session_that_was_begun_here_is_far_for_who_attached_over_ssh(tmux) -> None:
    assert whence(tmux("SSH_CONNECTION", LINE)) == Whence(far=True, why="tmux was attached over SSH")


def test_a_tmux_that_does_not_answer_leaves_it_to_the_environment(tmp_path: Path) -> None:
    gone = {"PATH": os.environ["PATH"], "TMUX": f"{tmp_path / 'none'},1,0"}
    assert whence({**gone, "SSH_CONNECTION": LINE}).far
    assert whence({"PATH": str(tmp_path), "TMUX": "x,1,0", "SSH_TTY": "/dev/pts/1"}).far
