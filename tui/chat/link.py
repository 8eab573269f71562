"""A session's line to the host of one model: obtained, kept while it is the right one, told about, let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from backends.base import Cancelled
from backends.errors import Problem
from backends.host import launch
from backends.host.client import HostClient
from backends.host.wire import Status, Unsaved
from tui.chat import turn
from tui.chat.target import Target

LinkChange = Literal["model", "progress"]


class Link:
    """`target` is whose model `client` is connected to, and `status` what its host last said.

    `step` is what is done to get a host, None once there is one or none is wanted. `lost` hears of a host that went
    unasked, `failed` of a model that could not be got ready, `unsaved` of a spool that cannot be written.
    """

    def __init__(
        self,
        changed: Callable[[LinkChange], None],
        lost: Callable[[HostClient], None],
        failed: Callable[[Problem], None],
    ) -> None:
        self.client: HostClient | None = None
        self.target: Target | None = None
        self.status: Status | None = None
        self.step: launch.LaunchStep | None = None
        self._changed = changed
        self._lost = lost
        self._failed = failed
        self.unsaved: Callable[[Unsaved], None] = lambda unsaved: None  # noqa: ARG005 - nobody listens yet
        self._connecting = asyncio.Lock()
        self._warming: asyncio.Task[None] | None = None

    @property
    def loading(self) -> bool:
        """Whether a model is on its way."""
        return self.step is not None or (self.status is not None and self.status.phase == "loading")

    @property
    def warming(self) -> bool:
        """Whether a model is looked for, or loaded, for the next question."""
        return self._warming is not None

    @property
    def connected(self) -> HostClient | None:
        """The client, if its host is still there."""
        return self.client if self.client is not None and self.client.connected else None

    async def connect(self, target: Target, evict: launch.Evict = "idle") -> HostClient:
        """Return a connection to the host of `target`, the one at hand if it is that. Raises like `turn.obtain`."""
        async with self._connecting:
            client = self.client
            if client is not None:
                same = self.target is not None and self.target.spec == target.spec
                if same and client.connected and client.status.phase not in {"ending", "failed"}:
                    self.target = target  # Another preset may run the very same model.
                    return client
                if client.status.phase == "loading":
                    await client.stop_load()
                await client.close()
            self.client = self.target = self.status = None
            self._changed("model")
            try:
                client = await turn.obtain(target.spec, self._tell_step, evict=evict)
            finally:
                self._tell_step(None)
            self.client, self.target, self.status = client, target, client.status
            client.on_status = self._tell_status
            client.on_unsaved = self.unsaved
            client.on_closed = self._closed
            self._changed("model")
            return client

    def warm(self, target: Target | None, evict: launch.Evict) -> None:
        """Load the model of `target` for the next question, instead of one that is being loaded."""
        before = self._warming

        async def warm() -> None:
            if before is not None:
                before.cancel()
                await asyncio.wait([before])
            if target is None:
                return
            try:
                client = await self.connect(target, evict)
                await client.loaded()
            except Cancelled:
                pass  # Loading was stopped, as wanted.
            except Problem as problem:
                self._failed(problem)
            finally:
                self._changed("model")

        task = self._warming = asyncio.create_task(warm())
        task.add_done_callback(self._warmed)

    def renew(self, target: Target | None) -> None:
        """Load the model of `target` if it is another, or another context, than the one at hand."""
        if target is not None and target != self.target:
            self.warm(target, "idle")

    async def stop_warming(self) -> None:
        """Give up loading for the next question, if that is being done."""
        if self._warming is None:
            return
        client = self.connected
        if client is not None and self.step is None:
            await client.stop_load()
        else:
            self._warming.cancel()

    async def close(self) -> None:
        """Let go of the host, whatever is on its way."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait([self._warming])
        if self.client is not None:
            await self.client.close()

    def _tell_step(self, step: launch.LaunchStep | None) -> None:
        self.step = step
        self._changed("progress")

    def _warmed(self, task: asyncio.Task[None]) -> None:
        if self._warming is task:
            self._warming = None
            self._changed("model")

    def _tell_status(self, status: Status) -> None:
        before, self.status = self.status, status
        same = before is not None and (before.phase, before.loaded) == (status.phase, status.loaded)
        self._changed("progress" if same else "model")

    def _closed(self) -> None:
        """The connection is gone: ended for its memory, idle too long, or dead."""
        client, self.status = self.client, None
        if client is not None and client.status.phase not in {"ending", "failed"}:
            self._lost(client)
        self._changed("model")
