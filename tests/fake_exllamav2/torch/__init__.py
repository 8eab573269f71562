"""As much of PyTorch as the backend and the stand-in use: cards, and small tensors of whole numbers."""

from __future__ import annotations

from typing import Any

from exllamav2.world import world

__version__ = "2.6.0+cu124"
long = "int64"


class OutOfMemoryError(RuntimeError):
    pass


class version:  # noqa: N801 - PyTorch's own name
    cuda: str | None = "12.4"
    hip: str | None = None


class cuda:  # noqa: N801 - PyTorch's own name
    OutOfMemoryError = OutOfMemoryError

    @staticmethod
    def is_available() -> bool:
        return world.cards > 0

    @staticmethod
    def device_count() -> int:
        return world.cards

    @staticmethod
    def get_device_name(_index: int) -> str:
        return "NVIDIA GeForce RTX 4060"

    @staticmethod
    def empty_cache() -> None:
        world.used -= world.idle
        world.idle = 0


class Tensor:
    """Nested lists with a shape."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def __getitem__(self, place: int) -> Any:
        found = self._rows[place]
        return Tensor(found) if isinstance(found, list) else found

    def __len__(self) -> int:
        return len(self._rows)

    def tolist(self) -> list[Any]:
        return self._rows

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._rows), len(self._rows[0])) if self._rows and isinstance(self._rows[0], list) else (len(self),)


def tensor(rows: list[Any], dtype: Any = None) -> Tensor:
    return Tensor(rows)
