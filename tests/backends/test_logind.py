"""What logind does at logout, from folders like those of systemd."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.hardware.logind import Logout, lingers, living, logout, runs
from tests.backends.kernel_world import machine

KILLS = "[Login]\nKillUserProcesses=yes\n"


def test_a_system_as_it_comes_says_how_it_was_built(tmp_path: Path) -> None:
    machine(tmp_path, {"etc/systemd/logind.conf": "[Login]\n#NAutoVTs=6\n#KillUserProcesses=no\n"})
    assert logout(tmp_path) == Logout(False)
    assert logout(tmp_path).ends("ann") is False


def test_without_any_file_it_is_not_told(tmp_path: Path) -> None:
    assert logout(tmp_path) == Logout(None)
    assert logout(tmp_path).ends("ann") is None


def test_a_drop_in_goes_over_the_main_file_and_is_named(tmp_path: Path) -> None:
    machine(tmp_path, {"etc/systemd/logind.conf": "[Login]\nKillUserProcesses=no\n"})
    machine(tmp_path, {"usr/lib/systemd/logind.conf.d/50-kde.conf": KILLS})
    found = logout(tmp_path)
    assert (found.kills, found.source) == (True, "/usr/lib/systemd/logind.conf.d/50-kde.conf")


def test_a_file_in_etc_hides_one_of_the_same_name_and_later_names_win(tmp_path: Path) -> None:
    machine(tmp_path, {"usr/lib/systemd/logind.conf.d/50-a.conf": KILLS, "etc/systemd/logind.conf.d/50-a.conf": ""})
    assert logout(tmp_path).kills is None
    machine(tmp_path, {"run/systemd/logind.conf.d/10-b.conf": "[Login]\nKillUserProcesses=no\n"})
    machine(tmp_path, {"etc/systemd/logind.conf.d/20-c.conf": "[Login]\n KillUserProcesses = TRUE \n"})
    assert logout(tmp_path).kills is True


def test_only_named_users_and_never_excluded_ones_are_ended(tmp_path: Path) -> None:
    text = KILLS + "KillOnlyUsers=ann bob\nKillExcludeUsers=bob\n"
    machine(tmp_path, {"etc/systemd/logind.conf": text})
    found = logout(tmp_path)
    assert [found.ends(user) for user in ("ann", "bob", "eve", "root")] == [True, False, False, False]


def test_an_empty_list_begins_anew(tmp_path: Path) -> None:
    machine(tmp_path, {"etc/systemd/logind.conf": KILLS + "KillOnlyUsers=eve\n"})
    machine(tmp_path, {"etc/systemd/logind.conf.d/a.conf": "[Login]\nKillOnlyUsers=\nKillOnlyUsers=ann\n"})
    assert logout(tmp_path).only == ("ann",)


@pytest.mark.parametrize("text", ["KillUserProcesses=yes\n", "[Manager]\nKillUserProcesses=yes\n", KILLS[:-4] + "?\n"])
def test_what_stands_elsewhere_or_means_nothing_changes_nothing(tmp_path: Path, text: str) -> None:
    machine(tmp_path, {"etc/systemd/logind.conf": text})
    assert logout(tmp_path).kills is None


def test_it_is_seen_where_this_process_lives_and_who_lingers(tmp_path: Path) -> None:
    places = {
        "0::/user.slice/user-1000.slice/session-7.scope\n": "session",
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-1.scope\n": "manager",
        "9:name=systemd:/user.slice/user-1000.slice/session-c2.scope\n0::/\n": "session",
        "0::/system.slice/docker-1.scope\n": "elsewhere",
    }
    for text, place in places.items():
        assert living(machine(tmp_path, {"proc/self/cgroup": text})) == place
    assert not runs(tmp_path)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    machine(tmp_path, {"var/lib/systemd/linger/ann": ""})
    assert runs(tmp_path)
    assert [lingers(user, tmp_path) for user in ("ann", "bob", "", "../linger/ann")] == [True, False, False, False]
