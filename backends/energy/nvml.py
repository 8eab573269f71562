"""NVIDIA cards through NVML: their energy counter, or their power where they have none.

https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html: nvmlDeviceGetTotalEnergyConsumption counts mJ
since the driver was loaded (Volta and newer), nvmlDeviceGetPowerUsage tells mW. Both are of the whole board.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection
from typing import Any

from backends.energy.source import COUNTER_INTERVAL_S, POWER_INTERVAL_S, Opened, Unread
from backends.energy.stretches import Counter, Power
from backends.hardware.gpu import card_name, explained, in_slices, in_use

REOPEN_S = 5.0
"""A driver that failed is opened anew at most this often."""


class Driver:
    """NVML, opened once for all cards. Used by one thread."""

    def __init__(self) -> None:
        self.nvml: Any = None
        self.generation = 0
        self._is_open = False
        self._tried_s = -math.inf

    def open(self) -> Opened:
        """Open the driver and find the cards. Without a driver there is neither a card nor a problem."""
        try:
            import pynvml
        except ImportError:
            return Opened()
        self.nvml = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
                return Opened()
            return Opened(problem=explained(error), again=True)
        self._is_open = True
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.close()
            return Opened(problem=explained(error), again=True)
        cards, problems = [], []
        for index in range(count):
            try:
                cards.append(Card(self, index))
            except pynvml.NVMLError as error:
                problems.append(f"GPU {index}: {explained(error)}")
            except Unmeasured:
                problems.append(f"GPU {index} tells neither its energy nor its power.")
        return Opened(tuple(cards), " ".join(problems))

    def close(self) -> None:
        """Let go of the driver, so that a card may sleep; the next read opens it again."""
        if self._is_open:
            self._is_open = False
            # A driver that is gone cannot be left in order.
            with contextlib.suppress(self.nvml.NVMLError):
                self.nvml.nvmlShutdown()

    def ready(self, now_s: float, *, failed: bool) -> None:
        """See to it that the driver is open, anew if a card `failed`; raise Unread if it cannot be."""
        if self._is_open and not (failed and now_s - self._tried_s >= REOPEN_S):
            return
        if not self._is_open and now_s - self._tried_s < REOPEN_S:
            raise Unread
        self.close()
        self._tried_s = now_s
        try:
            self.nvml.nvmlInit()
        except self.nvml.NVMLError as error:
            raise Unread(explained(error)) from error
        self._is_open = True
        self.generation += 1


class Unmeasured(Exception):
    """A card that tells nothing about its energy."""


class Card:
    """One card. It is found again by its UUID: numbers move up when a card is lost."""

    measured = True
    card = True

    def __init__(self, driver: Driver, index: int) -> None:
        """Raise NVMLError or Unmeasured."""
        nvml = driver.nvml
        self._driver = driver
        self._index = index
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        self._generation = driver.generation
        self._failed = False
        self.device = f"GPU {index} {card_name(nvml, self._handle, index)[0]}"
        try:
            self._uuid: str | None = nvml.nvmlDeviceGetUUID(self._handle)
        except (nvml.NVMLError, UnicodeDecodeError):
            self._uuid = None
        sliced = in_slices(nvml, self._handle)
        self.note = f"GPU {index} is divided by MIG: its figures are the whole card's." if sliced else ""
        self.problem = ""
        self._counter = Counter() if self._counts() else None
        self._power = Power()
        self.label = "NVML power, integrated" if self._counter is None else "NVML energy counter"
        self.interval_s = POWER_INTERVAL_S if self._counter is None else COUNTER_INTERVAL_S

    def _counts(self) -> bool:
        """Say whether the card counts its energy; if not, it must tell its power."""
        nvml = self._driver.nvml
        missing = (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        try:
            if nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) > 0:
                return True
        except nvml.NVMLError as error:
            if error.value not in missing:
                # It fails now and may count later.
                return True
        # Nothing since the driver was loaded means that nothing is counted.
        try:
            nvml.nvmlDeviceGetPowerUsage(self._handle)
        except nvml.NVMLError as error:
            if error.value in missing:
                raise Unmeasured from None
        return False

    def read(self, now_s: float) -> int | None:
        try:
            self._driver.ready(now_s, failed=self._failed)
        except Unread as error:
            self.problem = str(error) or self.problem
            raise
        nvml = self._driver.nvml
        try:
            self._find()
            if self._counter is not None:
                # mJ to µJ, mW to µW.
                delta = self._counter.step(now_s, nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) * 1000)
            else:
                delta = self._power.step(now_s, nvml.nvmlDeviceGetPowerUsage(self._handle) * 1000)
        except nvml.NVMLError as error:
            self._failed = True
            self.problem = explained(error)
            raise Unread from error
        self._failed = False
        self.problem = ""
        return delta

    def in_use(self, pids: Collection[int] | None) -> bool | None:
        """Say whether one of `pids` (None: anybody) uses the card; None where the driver does not tell, as on WSL2."""
        nvml = self._driver.nvml
        return in_use(nvml, self._handle, pids) if self._generation == self._driver.generation else None

    def _find(self) -> None:
        """Get the handle again after the driver was opened anew."""
        if self._generation == self._driver.generation:
            return
        nvml = self._driver.nvml
        if self._uuid is not None:
            self._handle = nvml.nvmlDeviceGetHandleByUUID(self._uuid)
        else:
            self._handle = nvml.nvmlDeviceGetHandleByIndex(self._index)
        self._generation = self._driver.generation
