"""What NVML tells beyond memory and condition: the CUDA that the driver supports, and who is on each card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from backends.hardware.gpu import in_slices, processes

_MOST_CARDS = 64


class Tenant(msgspec.Struct, frozen=True):
    """A process on a card; `held_bytes` is None where the driver does not tell."""

    pid: int
    held_bytes: int | None = None


class NvidiaCard(msgspec.Struct, frozen=True):
    """One card by its index. None is what it does not tell.

    `faults` are memory errors since the driver was loaded that could not be corrected. `in_slices` is True under MIG.
    """

    index: int
    tenants: tuple[Tenant, ...] | None = None
    faults: int | None = None
    in_slices: bool = False


class Nvidia(msgspec.Struct, frozen=True):
    """The driver. `cuda` is the newest CUDA that it supports, as (major, minor)."""

    driver: str = ""
    cuda: tuple[int, int] | None = None
    cards: tuple[NvidiaCard, ...] = ()


def nvidia() -> Nvidia | None:
    """Ask the driver, None where there is none. Never raises, but may block: see `patience.Question`."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - `gpu.read_gpus` says what is wrong with it
        return None
    try:
        return _read(pynvml)
    except Exception:  # noqa: BLE001 - the binding may raise anything
        return None
    finally:
        _told(pynvml.nvmlShutdown)


def _read(nvml: Any) -> Nvidia:
    version = _told(nvml.nvmlSystemGetCudaDriverVersion_v2)
    # 12040 is 12.4: cuda.h, CUDA_VERSION.
    cuda = (version // 1000, version % 1000 // 10) if isinstance(version, int) and version > 0 else None
    count = min(_told(nvml.nvmlDeviceGetCount) or 0, _MOST_CARDS)
    cards = [_card(nvml, index) for index in range(count)]
    return Nvidia(str(_told(nvml.nvmlSystemGetDriverVersion) or ""), cuda, tuple(cards))


def _card(nvml: Any, index: int) -> NvidiaCard:
    device = _told(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    if device is None:
        return NvidiaCard(index)
    kind, since = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
    return NvidiaCard(
        index,
        _tenants(nvml, device),
        _told(lambda: nvml.nvmlDeviceGetTotalEccErrors(device, kind, since)),
        in_slices(nvml, device),
    )


def _tenants(nvml: Any, device: Any) -> tuple[Tenant, ...] | None:
    found = _told(lambda: processes(nvml, device))
    if found is None:
        return None
    # Who computes and draws is there twice, with the same figure.
    return tuple({one.pid: Tenant(one.pid, one.usedGpuMemory) for one in found}.values())


def _told(read: Callable[[], Any]) -> Any:
    """Return an answer, None for what the driver or the card does not support."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - NVMLError and what decoding its texts may raise
        return None
