"""What `doctor` says of a running Ollama server, and of what happens to an answer at logout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.base import Availability
from tests.backends.kernel_world import machine
from tests.tui.checks.conftest import Made, named
from tui.checks.ground import Ground
from tui.checks.servers import Settings, ollama, settings, settings_of
from tui.checks.session import logout

RUNNING = {"ollama": Availability(True, "0.33.0", detail="at 127.0.0.1:11434")}


def server(root: Path, environment: str | None, pid: int = 900, cgroup: str = "0::/session-1.scope\n") -> None:
    """Make a process that serves; with `environment` None it is another user's."""
    files = {"comm": "ollama\n", "cmdline": "/usr/bin/ollama\0serve\0", "cgroup": cgroup}
    if environment is not None:
        files["environ"] = environment
    machine(root, {f"proc/{pid}/{name}": text for name, text in files.items()})


def checked(ground: Ground, unit: str = "") -> dict[str, tuple[str, str]]:
    return {check.name: (check.state, check.found) for check in ollama(ground, lambda: unit)}


def test_a_server_of_ones_own_is_asked_through_its_process(ground: Made) -> None:
    world = ground(engines=RUNNING)
    server(world.root, "PATH=/usr/bin\0OLLAMA_FLASH_ATTENTION=1\0OLLAMA_KV_CACHE_TYPE=q8_0\0")
    state, found = checked(world)["Ollama settings"]
    assert (state, found) == ("ok", "OLLAMA_FLASH_ATTENTION=1, OLLAMA_KV_CACHE_TYPE=q8_0")


def test_a_server_that_wastes_memory_gets_the_command_that_starts_it_well(ground: Made) -> None:
    world = ground(engines=RUNNING)
    server(world.root, "OLLAMA_NUM_PARALLEL=4\0OLLAMA_FLASH_ATTENTION=0\0")
    check = named(ollama(world, lambda: ""), "Ollama settings")
    assert (check.state, check.harm) == ("warn", "server-fat")
    assert "flash attention is off" in check.found
    assert "OLLAMA_NUM_PARALLEL reserves 4 contexts" in check.found
    assert check.fix.startswith("OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0 OLLAMA_NUM_PARALLEL=1 ollama serve")


def test_a_service_of_the_system_is_asked_through_systemd(ground: Made) -> None:
    world = ground(engines=RUNNING)
    server(world.root, None)
    unit = 'PATH=/usr/bin "OLLAMA_MODELS=/mnt/big disk" OLLAMA_FLASH_ATTENTION=1'
    check = named(ollama(world, lambda: unit), "Ollama settings")
    assert check.found.startswith(
        "OLLAMA_FLASH_ATTENTION=1, OLLAMA_MODELS=/mnt/big disk: the KV cache is not quantised"
    )
    assert "/mnt/big" not in check.public
    assert 'sudo systemctl edit ollama: [Service], Environment="OLLAMA_KV_CACHE_TYPE=q8_0"' in check.fix


def test_an_environment_that_cannot_be_seen_is_called_so(ground: Made) -> None:
    world = ground(engines=RUNNING)
    assert "cannot be seen" in checked(world)["Ollama settings"][1]
    server(world.root, None)
    assert checked(world)["Ollama settings"][0] == "ok"
    assert "cannot be seen" in checked(world)["Ollama settings"][1]
    assert checked(world, unit="'unfinished")["Ollama settings"][0] == "ok"


def test_a_process_of_the_same_name_that_does_not_serve_is_none(ground: Made) -> None:
    world = ground(engines=RUNNING)
    server(world.root, "OLLAMA_FLASH_ATTENTION=1\0")
    (world.root / "proc/900/cmdline").write_text("/usr/bin/ollama\0run\0llama\0")
    assert settings_of(world, lambda: "") is None


def test_a_quantised_cache_without_flash_attention_has_no_effect() -> None:
    check = settings(Settings({"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "false"}, True))
    assert "without it OLLAMA_KV_CACHE_TYPE=q8_0 has no effect" in check.found
    silent = settings(Settings({"OLLAMA_KV_CACHE_TYPE": "q8_0"}, True))
    assert "depends on its version and the model" in silent.found


@pytest.mark.parametrize(("version", "old"), [("0.12.5", True), ("0.12.6", False), ("1.0.0", False), ("main", False)])
def test_a_server_that_forgets_silently_is_too_old(ground: Made, version: str, old: bool) -> None:
    world = ground(engines={"ollama": Availability(True, version)})
    assert ("Ollama version" in checked(world)) is old


def test_a_server_that_does_not_run_is_told_elsewhere(ground: Made) -> None:
    assert not checked(ground(engines={"ollama": Availability(False, detail="Nothing listens there.")}))
    assert not checked(ground())


KILLS = "[Login]\nKillUserProcesses=yes\n"
SESSION = "0::/user.slice/user-1000.slice/session-7.scope\n"
MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-1.scope\n"


def world(root: Path, cgroup: str, **files: str) -> Path:
    machine(root, {"proc/self/cgroup": cgroup, "run/systemd/system/x": "", "usr/bin/systemd-run": ""})
    return machine(root, {name.replace("__", "/"): text for name, text in files.items()})


def test_a_system_that_keeps_programs_is_in_order(tmp_path: Path) -> None:
    root = world(tmp_path, SESSION, **{"etc__systemd__logind.conf": "[Login]\n#KillUserProcesses=no\n"})
    (check,) = logout(root, {}, "ann")
    assert (check.state, check.found) == ("ok", "an answer goes on after you log out")


def test_one_that_ends_programs_is_a_warning_with_a_command_for_root(tmp_path: Path) -> None:
    root = world(tmp_path, SESSION, **{"etc__systemd__logind.conf": KILLS})
    (check,) = logout(root, {}, "ann")
    assert (check.state, check.harm) == ("warn", "killed")
    assert check.found == "KillUserProcesses=yes (/etc/systemd/logind.conf)"
    assert "KillUserProcesses=no" in check.fix
    assert "linger" not in check.fix
    (spared,) = logout(root, {}, "root")
    assert spared.state == "ok"


def test_with_a_service_manager_it_needs_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = world(tmp_path / "root", SESSION, **{"etc__systemd__logind.conf": KILLS})
    machine(root, {"run/user/1000/systemd/private": ""})
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemd-run").write_text("#!/bin/sh\n")
    (programs / "systemd-run").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    here = {"XDG_RUNTIME_DIR": "/run/user/1000"}
    (check,) = logout(root, here, "ann")
    assert check.fix.startswith("loginctl enable-linger   (your service manager then goes on without a login; ")
    assert "Or, for every program: sudo" in check.fix
    machine(root, {"var/lib/systemd/linger/ann": ""})
    (lingering,) = logout(root, here, "ann")
    assert (lingering.state, lingering.fix) == ("ok", "")


def test_a_terminal_of_the_service_manager_lives_as_long_as_that_does(tmp_path: Path) -> None:
    root = world(tmp_path, MANAGER, **{"etc__systemd__logind.conf": "[Login]\nKillUserProcesses=no\n"})
    (check,) = logout(root, {}, "ann")
    assert (check.state, check.harm) == ("warn", "killed")
    assert check.fix.startswith("loginctl enable-linger")
    machine(root, {"var/lib/systemd/linger/ann": ""})
    (lingering,) = logout(root, {}, "ann")
    assert lingering.state == "ok"


def test_without_systemd_or_a_login_nothing_is_ended(tmp_path: Path) -> None:
    (none,) = logout(tmp_path, {}, "ann")
    assert none.found.startswith("no systemd here")
    root = world(tmp_path, "0::/system.slice/docker-1.scope\n", **{"etc__systemd__logind.conf": KILLS})
    (elsewhere,) = logout(root, {}, "ann")
    assert elsewhere.state == "ok"
    (unknown,) = logout(world(tmp_path / "other", SESSION), {}, "ann")
    assert (unknown.state, "not told" in unknown.found) == ("ok", True)
