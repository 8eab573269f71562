"""How far jobs are, for lines with little room: pure functions from jobs to text. Unknown is left out, never 0.

Most are fetches. Others make a model of another, or measure one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backends.jobs.job import JobView
from tui.chat.clean import clean_line
from tui.commands.table import cells
from tui.units import duration, rate_text, roughly, share_text
from tui.words import N_, _

SIGN, WORKS = "▼", "▸"
"""Before what is fetched, and before any other work."""
_STAGES = {
    "starting": N_("starting"),
    "asking": N_("asking the server"),
    "queued": N_("waits for its turn"),
    "waiting": N_("waits for the server"),
    "checking": N_("checking"),
    "verifying": N_("verifying"),
    "looking": N_("looking at the files"),
    "hashing": N_("reading the files"),
    "finishing": N_("finishing"),
    "done": N_("finishing"),
}


class Work(msgspec.Struct, frozen=True):
    """The words for a kind of job that fetches nothing. `after` says what stays when it is stopped."""

    doing: str
    titled: str
    stop: str
    after: str


WORK = {
    "quantize": Work(
        N_("quantising {share}"),
        N_("Quantising {title}"),
        N_("Stop quantising {title}"),
        N_("Nothing of it stays; its source does"),
    ),
    "quality": Work(
        N_("measuring {share}"),
        N_("Measuring {title}"),
        N_("Stop measuring {title}"),
        N_("What is measured stays"),
    ),
}
"""Words by the kinds of jobs."""
_STATES = {"stopped": N_("stopped"), "failed": N_("failed"), "interrupted": N_("interrupted")}


def line_forms(views: Sequence[JobView]) -> tuple[str, ...]:
    """Return how the running jobs can be written in a line, the longest form first; () where there are none."""
    kinds = [_fetch_forms([view for view in views if view.spec.kind not in WORK])]
    kinds += [_work_forms(view) for view in views if view.spec.kind in WORK]
    groups = [forms for forms in kinds if forms]
    if len(groups) < 2:
        return groups[0] if groups else ()
    # Each gets shorter by turns, and in the end only the first is told.
    most = max(map(len, groups))
    rows = ["   ".join(forms[min(place, len(forms) - 1)] for forms in groups) for place in range(most)]
    return _shorter([*rows, groups[0][-1]])


def titled(view: JobView) -> str:
    """Return what a job is about, with what it does where that is no fetch."""
    title = clean_line(view.spec.title)
    return _(WORK[view.spec.kind].titled).format(title=title) if view.spec.kind in WORK else title


def _work_forms(view: JobView) -> tuple[str, ...]:
    """Return how a job can be written that fetches nothing."""
    name, share, progress = titled(view), percent([view]), view.progress
    if view.stopping:
        forms = [[name, _("stopping")], [_("stopping")]]
    elif stage := _(_STAGES.get(progress.stage, "")):
        forms = [[name, stage, share], [name, stage], [name], [stage]]
    elif not share:
        forms = [[name]]
    else:
        left = roughly(progress.left_s) if progress.left_s is not None else ""
        doing = _(WORK[view.spec.kind].doing).format(share=share)
        about = _("about {time}").format(time=left) if left else ""
        forms = [[name, share, about], [name, share], [doing, about], [doing], [share]]
    return _shorter([f"{WORKS} {' · '.join(part for part in parts if part)}".rstrip() for parts in forms])


def _shorter(lines: Sequence[str]) -> tuple[str, ...]:
    """Return those of some forms that are shorter than all before them."""
    kept: list[str] = []
    for line in lines:
        if not kept or cells(line) < cells(kept[-1]):
            kept.append(line)
    return tuple(kept)


def _fetch_forms(views: Sequence[JobView]) -> tuple[str, ...]:
    if not views:
        return ()
    first = views[0]
    name = clean_line(first.spec.title) if len(views) == 1 else _("{count} models").format(count=len(views))
    # While one comes, the others wait for their turn: what it does is what is done.
    at_work = next((view for view in views if view.progress.stage not in {"queued", "starting"}), first)
    stage = _("stopping") if at_work.stopping else _(_STAGES.get(at_work.progress.stage, ""))
    share, sizes = percent(views), _sizes(views)
    moving = [view.progress.bytes_per_s for view in views if view.progress.bytes_per_s and not view.stopping]
    rate, left = sum(moving), _left_s(views, sum(moving))
    if stage or not moving:
        said = stage or _("fetching")
        # Why it waits is said where there is room.
        why = clean_line(at_work.progress.note) if at_work.progress.stage == "waiting" else ""
        forms = [[name, why, share]] if why and not at_work.stopping else []
        forms += [[f"{name} {said}", sizes], [f"{name} {said}", share], [said, share], [share]]
    else:
        forms = [
            [f"{name} {sizes}", rate_text(rate), duration(left) if left is not None else ""],
            [f"{name} {share}", rate_text(rate), duration(left) if left is not None else ""],
            [share, rate_text(rate), duration(left) if left is not None else ""],
            [share, rate_text(rate)],
            [share],
        ]
    lines = (" · ".join(part.strip() for part in parts if part.strip()) for parts in forms)
    return tuple(dict.fromkeys(f"{SIGN} {line}".rstrip() for line in lines))


def brief(view: JobView) -> str:
    """Return a job in the few cells of the sidebar: "fetching 46 % · 42 MB/s", "stopped at 46 %", "quantising 41 %"."""
    share = percent([view])
    if not view.running:
        state = _(_STATES.get(view.state, view.state))
        return _("{state} at {share}").format(state=state, share=share) if share else state
    stage = _("stopping") if view.stopping else _(_STAGES.get(view.progress.stage, ""))
    if stage:
        return f"{stage} · {share}" if share and cells(stage) < 18 else stage
    if view.spec.kind in WORK:
        return _(WORK[view.spec.kind].doing).format(share=share).rstrip()
    rate = view.progress.bytes_per_s
    return (_("fetching {share}").format(share=share).rstrip() + (f" · {rate_text(rate)}" if rate else "")).rstrip()


def percent(views: Sequence[JobView]) -> str:
    """Return how much of all is here, "" where it is unknown."""
    total = _total(views)
    return share_text(_done(views), total) if total else ""


def amount(done: int, total: int) -> str:
    """Return how much of how much, both in one unit: 3.1/6.7 GB."""
    if total >= 1e9:
        return f"{done / 1e9:.1f}/{total / 1e9:.1f} GB"
    return f"{done / 1e6:.0f}/{total / 1e6:.0f} MB"


def _sizes(views: Sequence[JobView]) -> str:
    total = _total(views)
    return amount(_done(views), total) if total else ""


def _total(views: Sequence[JobView]) -> int | None:
    """Return how many bytes all of them have together, None where one does not know."""
    totals = [view.progress.total_bytes for view in views]
    return sum(total or 0 for total in totals) if all(total is not None for total in totals) else None


def _done(views: Sequence[JobView]) -> int:
    return sum(view.progress.done_bytes for view in views)


def _left_s(views: Sequence[JobView], rate: float) -> float | None:
    if len(views) == 1:
        return views[0].progress.left_s
    total = _total(views)
    return (total - _done(views)) / rate if rate and total is not None else None
