"""Checks of the presets, whose models are here or not, and of the models that are loaded."""

from __future__ import annotations

from collections.abc import Iterator

from backends.errors import Problem
from backends.host.launch import HostView
from backends.version import build_id
from presets.catalog import Catalog
from presets.schema import source_for
from presets.sources import locate, parse
from tui.checks.check import Check


def presets(catalog: Catalog) -> Iterator[Check]:
    """The preset files, and which models are here."""
    for problem in catalog.problems:
        fix = problem.hint or f"deepseek-tui presets check {problem.name}"
        public = f"{problem.what}{f', line {problem.line}' if problem.line else ''}"
        yield Check(f"preset {problem.name}", "fail", f"{problem.what}: {problem.detail}", fix, "no-preset", public)
    here: list[str] = []
    missing: list[str] = []
    own: dict[bool, int] = {True: 0, False: 0}
    for entry in catalog.entries:
        try:
            located = locate(parse(source_for(entry.preset, entry.preset.backend, name=entry.name)))
        except Problem as problem:
            found, hint = str(problem), problem.hint
            yield Check(f"preset {entry.name}", "fail", found, hint, "no-preset", "its model cannot be looked for")
            continue
        there = located.present is not False
        (here if there else missing).append(entry.name)
        own[there] += not entry.builtin
        if entry.name == "starter" and not there:
            yield Check("starter model", "warn", located.detail, located.hint, "no-model")
    builtin = {entry.name for entry in catalog.entries if entry.builtin}
    public = _listed([name for name in here if name in builtin], [name for name in missing if name in builtin])
    public += f"; the user's own: {own[True]} here, {own[False]} not here"
    if here:
        yield Check("models", "ok", _listed(here, missing), public=public)
    else:
        fix = "deepseek-tui presets show 8b-q4_k_m   (says how)"
        yield Check("models", "fail", "no preset's model is here", fix, "no-model", public)


def hosts(views: tuple[HostView, ...] | None) -> Iterator[Check]:
    """The models that are loaded."""
    if views is None:
        yield Check("loaded models", "fail", "they cannot be asked", "deepseek-tui ps", "unknown")
        return
    deaf = [view for view in views if view.status is None]
    older = [view for view in views if view.welcome is not None and view.welcome.build != build_id()]
    for view in deaf:
        fix = f"deepseek-tui stop --force {view.key}"
        yield Check("loaded models", "warn", f"process {view.pid} does not answer", fix, "old-host")
    for view in older:
        found, fix = "was started by another version", "deepseek-tui stop   (an idle one is replaced by itself)"
        yield Check("loaded models", "warn", f"{view.title} {found}", fix, "old-host", f"one {found}")
    if not deaf and not older:
        titles = ", ".join(view.title for view in views)
        yield Check("loaded models", "ok", titles or "none", public=str(len(views) or "none"))


def _listed(here: list[str], missing: list[str]) -> str:
    return f"here: {', '.join(here) or 'none'}" + (f"; not here: {', '.join(missing)}" if missing else "")
