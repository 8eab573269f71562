"""Checks of the Ollama server of this machine: its version, and the variables that decide what a context takes."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from backends.hardware import logind, processes
from backends.hardware.kernel_files import text
from backends.shown import printable
from tui.checks.check import Check
from tui.checks.ground import Ground

_REFUSES = (0, 12, 6)
"""The first version that can refuse a conversation that is too long: `backends.ollama.loading`."""
_PATIENCE_S = 2.0
_FLASH, _CACHE = "OLLAMA_FLASH_ATTENTION", "OLLAMA_KV_CACHE_TYPE"
_TOLD = (_FLASH, _CACHE, "OLLAMA_NUM_PARALLEL", "OLLAMA_CONTEXT_LENGTH", "OLLAMA_MODELS")
_ON = {"1", "true", "t"}
_UNIT = 'sudo systemctl edit ollama: [Service], Environment="{}"; then sudo systemctl restart ollama'


class Settings(NamedTuple):
    """A server's own variables, and whether it is a service of the system."""

    variables: Mapping[str, str]
    service: bool


def ollama(ground: Ground, unit: Callable[[], str] | None = None) -> Iterator[Check]:
    """The version and the settings of a server that runs; one that does not is told among the engines.

    `unit` gives the environment of its systemd service, "" if there is none.
    """
    found = ground.engines.get("ollama")
    if found is None or not found.ready:
        return
    version = _numbers(found.version)
    if version is not None and version < _REFUSES:
        said = f"{printable(found.version)} drops the beginning of a long conversation silently"
        fix = "Update it to 0.12.6 or later: curl -fsSL https://ollama.com/install.sh | sh"
        yield Check("Ollama version", "warn", said, fix, "server-fat")
    running = settings_of(ground, unit or (lambda: unit_environment(ground)))
    if running is None:
        where = "its environment cannot be seen: another user's, a container's or another machine's"
        yield Check("Ollama settings", "ok", f"{where}, and so not {_FLASH} or {_CACHE}")
        return
    yield settings(running)


def settings(running: Settings) -> Check:
    """Judge a server's variables."""
    given = {name: printable(running.variables[name], 200) for name in _TOLD if running.variables.get(name)}
    shown = ", ".join(f"{name}={value}" for name, value in given.items()) or "none of its variables is set"
    public = ", ".join(name if name == "OLLAMA_MODELS" else f"{name}={_plain(value)}" for name, value in given.items())
    public = public or "none of its variables is set"
    flash, cache = given.get(_FLASH), given.get(_CACHE, "f16")
    wanted: dict[str, str] = {}
    why = []
    if flash is None or flash.lower() not in _ON:
        wanted[_FLASH] = "1"
        why.append(
            "flash attention is off"
            if flash is not None
            else f"{_FLASH} is not set: whether flash attention is used depends on its version and the model"
        )
    if cache in {"f16", "f32", "bf16"}:
        wanted[_CACHE] = "q8_0"
        why.append("the KV cache is not quantised: q8_0 takes about half")
    elif _FLASH in wanted and flash is not None:
        why.append(f"without it {_CACHE}={cache} has no effect")
    parallel = given.get("OLLAMA_NUM_PARALLEL", "1")
    if parallel.isdecimal() and int(parallel) > 1:
        wanted["OLLAMA_NUM_PARALLEL"] = "1"
        why.append(f"OLLAMA_NUM_PARALLEL reserves {int(parallel)} contexts, and one person needs one")
    if not wanted:
        return Check("Ollama settings", "ok", shown, public=public)
    pairs = [f"{name}={value}" for name, value in wanted.items()]
    fix = _UNIT.format('" "'.join(pairs)) if running.service else f"{' '.join(pairs)} ollama serve   (start it anew so)"
    reasons = "; ".join(why)
    return Check("Ollama settings", "warn", f"{shown}: {reasons}", fix, "server-fat", f"{public}: {reasons}")


def settings_of(ground: Ground, unit: Callable[[], str]) -> Settings | None:
    """Return the variables of the server of this machine, None where they cannot be seen."""
    serving = [
        pid
        for pid in processes.called("ollama", ground.root)
        if processes.words_of(pid, ground.root)[1:2] in {("serve",), ("start",)}
    ]
    for pid in serving:
        variables = processes.environment_of(pid, ground.root)
        if variables is not None:
            # In the cgroup of a service of its own: one started by hand is in a session.
            service = "ollama.service" in text(ground.root / f"proc/{pid}/cgroup")
            return Settings(variables, service)
    if not serving:
        return None
    told = unit()
    if not told:
        return None
    with contextlib.suppress(ValueError):
        return Settings(dict(pair.partition("=")[::2] for pair in shlex.split(told) if "=" in pair), True)
    return None


def unit_environment(ground: Ground) -> str:
    """Return what systemd gives its Ollama service as environment, "" where there is no such service."""
    if not logind.runs(ground.root):
        return ""
    command = ["systemctl", "show", "ollama.service", "-p", "Environment", "--value"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()[:65536] if done.returncode == 0 else ""


def _plain(value: str) -> str:
    """Return a value that is one of the usual words or a number, else nothing of it."""
    return value if re.fullmatch(r"\d{1,7}|true|false|f16|f32|bf16|q8_0|q4_0", value) else "…"


def _numbers(version: str) -> tuple[int, ...] | None:
    match = re.match(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", version)
    return tuple(map(int, match.groups())) if match else None
