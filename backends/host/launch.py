"""Which hosts there are, and how one comes to be: found, started, waited for; an idle one ended for its memory.

One loaded model per user: an idle host of another model is ended first, a busy one never unasked. Models that take no
memory here, since a server elsewhere has them, are not in anybody's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec

from backends import detached, lock_file, paths
from backends.errors import Busy, EngineDied, OutOfMemory, Problem
from backends.host.client import HostClient, last_words, open_client
from backends.host.wire import HostSpec, Status, Welcome
from backends.version import build_id

LOCK, SPEC, LOG = "lock", "spec.json", "log"
START_S = 20.0
END_S = 45.0
POLL_S = 0.05
WAIT_POLL_S = 0.25
UNANSWERED_S = 30.0
SILENT_S = 3.0
"""A host that says nothing for less than this is just ending, and no reason to give up a model nobody waits for."""
LOCK_SHOWN_S = 1.0

_children: list[subprocess.Popen[bytes]] = []


class Waiting(msgspec.Struct, frozen=True):
    """In line behind another model's answer; `title` is what runs, `phase` what it is doing."""

    title: str
    phase: str


class Ending(msgspec.Struct, frozen=True):
    """An idle model is being ended, so that its memory is free."""

    title: str


class Starting(msgspec.Struct, frozen=True):
    """The host's process is being started."""

    title: str


LaunchStep = Waiting | Ending | Starting
Evict = Literal["none", "idle", "busy"]


class HostView(msgspec.Struct, frozen=True):
    """A running host as seen from outside. `status` is None if it holds its lock but does not answer."""

    key: str
    folder: Path
    pid: int | None
    welcome: Welcome | None
    status: Status | None

    @property
    def title(self) -> str:
        return self.welcome.title if self.welcome else f"host {self.pid or self.key}"

    @property
    def busy(self) -> bool:
        status = self.status
        return status is None or status.phase == "loading" or status.answer is not None or bool(status.waiting)


def key_of(spec: HostSpec) -> str:
    """Name a host by what it runs: backend, model and options, whoever asks for it."""
    content = msgspec.json.encode((spec.backend, spec.model, spec.options), order="deterministic")
    return hashlib.blake2b(content, digest_size=8).hexdigest()


async def obtain(
    spec: HostSpec,
    report: Callable[[LaunchStep], None] = lambda _step: None,
    *,
    evict: Evict = "idle",
) -> HostClient:
    """Return a connection to the host of `spec`, started if need be.

    `evict` says which hosts of other models may be ended for it: "none" raises Busy if there is any that stays, "idle"
    waits in line behind a busy one, "busy" ends that too.
    Raises EngineDied if the process cannot be started or a host in the way does not answer, OutOfMemory if one does
    not end, OSError if the state folder cannot be used.
    """
    folder = paths.hosts() / key_of(spec)
    client = await _connect_own(folder, spec)
    if client is not None:
        return client
    clock = asyncio.get_running_loop().time
    unanswered_since: float | None = None
    while True:
        async with _launch_lock(report):
            blocking = await _make_room(spec, folder, report, evict)
            if blocking is None:
                return await _start(spec, folder, report)
        if blocking.welcome is not None:
            unanswered_since = None
        elif unanswered_since is None:
            unanswered_since = clock()
        silent_s = clock() - unanswered_since if unanswered_since is not None else None
        if evict == "none" and (silent_s is None or silent_s > SILENT_S):
            raise Busy(f"{blocking.title} is loaded", "It is not ended unasked.", "Ask something to load this model.")
        if silent_s is not None and silent_s > UNANSWERED_S:
            raise EngineDied(
                f"{blocking.title} does not answer",
                f"Its process {blocking.pid} holds its place but has said nothing for {UNANSWERED_S:.0f} s.",
                "`deepseek-tui stop --force` ends it.",
            )
        report(Waiting(blocking.title, blocking.status.phase if blocking.status else "not answering"))
        await asyncio.sleep(WAIT_POLL_S)


async def survey() -> list[HostView]:
    """Look at all running hosts of this user."""
    try:
        folders = sorted(path for path in paths.hosts().iterdir() if path.is_dir())
    except OSError:
        return []
    alive = [folder for folder in folders if lock_file.held(folder / LOCK)]
    return list(await asyncio.gather(*(_view(folder) for folder in alive)))


def pids_of(views: Iterable[HostView]) -> set[int]:
    """Return the processes of hosts, as far as they are known."""
    return {view.pid for view in views if view.pid is not None}


async def end(view: HostView, *, force: bool = False, timeout_s: float = END_S) -> bool:
    """Ask a host to end and wait until its process is gone; with `force` also when busy or deaf. Say whether it is."""
    with contextlib.suppress(OSError, TimeoutError, Problem):
        client = await open_client(view.folder, "")
        try:
            gone = await client.shutdown(force=force) and await _gone(view.folder, timeout_s)
        finally:
            await client.close()
        if gone or not force:
            return gone
    if force and view.pid is not None and lock_file.held(view.folder / LOCK):
        with contextlib.suppress(ProcessLookupError):
            os.kill(view.pid, 9)
        return await _gone(view.folder, timeout_s)
    return not lock_file.held(view.folder / LOCK)


async def free_memory() -> None:
    """End every idle host whose model takes memory of this machine."""
    for view in await survey():
        if await _takes_memory(view) and not view.busy:
            await end(view)


async def find_answer(answer: str) -> HostClient | None:
    """Return a connection to the host that is generating an answer, or cannot get the end of it on disk."""
    for view in await survey():
        status = view.status
        if status is not None and answer in (status.answer, *status.waiting, *status.unsaved):
            with contextlib.suppress(OSError, TimeoutError, Problem):
                return await open_client(view.folder, build_id())
    return None


def reap() -> None:
    """Collect ended child processes."""
    _children[:] = [child for child in _children if child.poll() is None]


async def _connect_own(folder: Path, spec: HostSpec, *, failed_too: bool = False) -> HostClient | None:
    """Connect to a running host of this very model and build; None if there is none that will stay.

    `failed_too` also takes one that has just failed to load: it is the one to say why.
    """
    try:
        client = await open_client(folder, spec.build)
    except (OSError, TimeoutError, Problem):
        return None
    unwanted = {"ending"} if failed_too else {"ending", "failed"}
    if client.welcome.build == spec.build and client.status.phase not in unwanted:
        return client
    await client.close()
    return None


async def _make_room(spec: HostSpec, own: Path, report: Callable[[LaunchStep], None], evict: Evict) -> HostView | None:
    """End the idle hosts that stand in the way; return a busy one that may not be ended, if any."""
    needs_room = await _needs_memory(spec.backend)
    for view in await survey():
        if view.folder != own and not (needs_room and await _takes_memory(view)):
            continue
        if view.folder == own and view.welcome is not None and view.welcome.build == spec.build and _stays(view):
            continue
        ending = view.status is not None and view.status.phase in {"ending", "failed"}
        # A host of another build may say its status in words unknown here: it knows best whether it is busy.
        busy = view.welcome is None or (view.status is not None and view.busy)
        if not ending and (evict == "none" or (busy and evict == "idle")):
            return view
        report(Ending(view.title))
        if not await end(view, force=evict == "busy"):
            now = await _view(view.folder)
            if evict == "idle" and (now.status is None or now.busy):
                return now  # Somebody asked it something meanwhile.
            raise OutOfMemory(
                f"{view.title} does not give its memory back",
                f"Its process {view.pid} did not end within {END_S:.0f} s.",
                "`deepseek-tui stop --force` ends it.",
            )
    return None


async def _takes_memory(view: HostView) -> bool:
    return view.welcome is None or await _needs_memory(view.welcome.backend)


async def _needs_memory(backend: str) -> bool:
    from backends import registry  # Not at the top: this module is imported before the first frame.

    # A plug-in is asked in a process of its own, which may take its time.
    return await asyncio.to_thread(registry.takes_memory, backend)


def _stays(view: HostView) -> bool:
    return view.status is not None and view.status.phase not in {"ending", "failed"}


async def _start(spec: HostSpec, folder: Path, report: Callable[[LaunchStep], None]) -> HostClient:
    client = await _connect_own(folder, spec)
    if client is not None:
        return client
    report(Starting(spec.title))
    reap()
    paths.private(folder.parent)
    paths.private(folder)
    (folder / SPEC).touch(mode=0o600)
    (folder / SPEC).write_bytes(msgspec.json.encode(spec))
    child = await _spawned(folder)
    _children.append(child)
    deadline = asyncio.get_running_loop().time() + START_S
    try:
        while asyncio.get_running_loop().time() < deadline:
            client = await _connect_own(folder, spec, failed_too=True)
            if client is not None:
                return client
            if child.poll() is not None and not lock_file.held(folder / LOCK):
                break
            await asyncio.sleep(POLL_S / 2)
    except asyncio.CancelledError:
        child.terminate()  # Nobody wants this model any more.
        raise
    raise EngineDied(
        f"{spec.title}: its process did not start",
        last_words(folder) or f"See {folder / LOG}.",
        "Retry; `deepseek-tui doctor` looks for the cause.",
    )


async def _spawned(folder: Path) -> subprocess.Popen[bytes]:
    """Start a host; where that takes its time, the event loop goes on meanwhile."""
    if not detached.scoped():
        return _spawn(folder)
    spawning = asyncio.ensure_future(asyncio.to_thread(_spawn, folder))
    try:
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        await asyncio.wait([spawning])
        if spawning.exception() is None:
            spawning.result().terminate()  # Nobody wants this model any more.
            _children.append(spawning.result())
        raise


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    """Start a host that outlives the line; its output goes to a private log."""
    log = os.open(folder / LOG, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        return detached.start([sys.executable, "-P", "-m", "backends.host", str(folder)], log)
    finally:
        os.close(log)


@contextlib.asynccontextmanager
async def _launch_lock(report: Callable[[LaunchStep], None]) -> AsyncIterator[None]:
    """Hold the user's launch lock: between looking for room and starting, nobody else starts anything."""
    descriptor = os.open(paths.private(paths.hosts()) / "launch.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        waited_s = 0.0
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waited_s < LOCK_SHOWN_S <= (waited_s := waited_s + POLL_S):
                    report(Waiting("Another window", "starting a model"))
                await asyncio.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


async def _view(folder: Path) -> HostView:
    pid = lock_file.holder(folder / LOCK)
    try:
        client = await open_client(folder, "")
    except (OSError, TimeoutError, Problem):
        return HostView(folder.name, folder, pid, None, None)
    view = HostView(folder.name, folder, pid, client.welcome, client.status if client.readable else None)
    await client.close()
    return view


async def _gone(folder: Path, timeout_s: float) -> bool:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while lock_file.held(folder / LOCK):
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(POLL_S / 2)
    reap()
    return True
