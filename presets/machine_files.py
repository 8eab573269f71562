"""Machines as TOML, which people write: `presets/machines` holds commented examples.

Memory is in GiB (2³⁰ bytes), as it is sold: 16 GB of RAM are `total_gib = 16`. Disks and speeds are in GB (10⁹), as
they are sold. Both come back to the byte. What is left out is unknown, never 0.
"""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from backends.errors import Problem
from backends.hardware.block import DiskKind
from backends.hardware.cpu import Cpu
from backends.hardware.disk import Disk
from backends.hardware.machine import Card, Machine, Origin, Power
from backends.hardware.memory import Ram
from backends.hardware.speed import Speed, SpeedSource
from backends.shown import printable, shown_path
from presets.checking import checked
from presets.problems import PresetError, dotted
from presets.toml_lines import Key, key_lines, line_of, refusal

GIB, GB = 1 << 30, 10**9

_LONGEST = 400
_DEEPEST = 16
_Text = Annotated[str, msgspec.Meta(max_length=_LONGEST)]
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
_Size = Annotated[float, msgspec.Meta(gt=0, le=1e11)]
_Rate = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 16)]
_Words = Annotated[tuple[_Text, ...], msgspec.Meta(max_length=100)]


class MachineError(Problem):
    """A machine that cannot be used as it is written. `key` is dotted, `line` counts from 1; "" and None: no place."""

    def __init__(self, place: str, what: str, *, key: str = "", line: int | None = None, hint: str = "") -> None:
        self.place = place
        self.what = what
        self.key = key
        self.line = line
        where = f"{place}, line {line}" if line else place
        super().__init__("The machine cannot be used", ": ".join(part for part in (where, key, what) if part), hint)


class _Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    name: _Text
    vram_gib: _Size
    free_gib: _Amount | None = None
    others_gib: _Amount | None = None
    bandwidth_gb_per_s: _Rate | None = None
    bandwidth_source: SpeedSource = "published"
    watts_limit: Annotated[float, msgspec.Meta(gt=0, le=1e5)] | None = None
    driver: _Text = ""


class _Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    total_gib: _Size | None = None
    available_gib: _Amount | None = None
    limit_gib: _Size | None = None
    swap_total_gib: _Amount | None = None
    swap_used_gib: _Amount | None = None
    bandwidth_gb_per_s: _Rate | None = None
    bandwidth_source: SpeedSource = "published"


class _Cpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    name: _Text = ""
    cores: _Count | None = None
    threads: _Count | None = None
    usable_cores: _Count | None = None
    usable_threads: _Count | None = None
    quota: Annotated[float, msgspec.Meta(gt=0, le=1 << 16)] | None = None
    performance_cores: _Count | None = None
    efficiency_cores: _Count | None = None
    instructions: _Words = ()


class _Disk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    kind: DiskKind = "unknown"
    device: _Text = ""
    model: _Text = ""
    file_system: _Text = ""
    total_gb: _Size | None = None
    free_gb: _Amount | None = None
    pcie_gt_per_s: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    pcie_lanes: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    read_gb_per_s: _Rate | None = None
    read_source: SpeedSource = "published"
    note: _Text = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    title: _Text = ""
    origin: Origin = "described"
    power: Power | None = None
    wsl2: bool = False
    notes: _Words = ()
    # Each is checked by itself, because a key in the second of several has a line of its own.
    gpus: list[dict[str, Any]] = []
    ram: _Memory = _Memory()
    cpu: _Cpu = _Cpu()
    disk: _Disk = _Disk()


def to_toml(machine: Machine) -> str:
    """Return a machine as TOML text that `from_toml` reads back."""
    import tomli_w

    memory, disk = machine.ram, machine.disk
    bandwidth, bandwidth_source = _written(machine.bandwidth)
    read, read_source = _written(disk.read)
    file = _File(
        _short(machine.title),
        machine.origin,
        machine.power,
        machine.wsl2,
        tuple(map(_short, machine.notes[:100])),
        [msgspec.to_builtins(_gpu_table(card)) for card in machine.gpus],
        _Memory(
            _gib(memory.total_bytes),
            _gib(memory.available_bytes),
            _gib(memory.limit_bytes),
            _gib(memory.swap_total_bytes),
            _gib(memory.swap_used_bytes),
            bandwidth,
            bandwidth_source,
        ),
        _Cpu(**{**msgspec.structs.asdict(machine.cpu), "name": _short(machine.cpu.name)}),
        _Disk(
            disk.kind,
            _short(disk.device),
            _short(disk.model),
            _short(disk.file_system),
            _gb(disk.total_bytes),
            _gb(disk.free_bytes),
            disk.pcie_gt_per_s,
            disk.pcie_lanes,
            read,
            read_source,
            _short(disk.note),
        ),
    )
    table = {key: value for key, value in msgspec.to_builtins(file).items() if value not in ({}, [], None)}
    return tomli_w.dumps(table)


def from_toml(text: str, place: Path | str = "text") -> Machine:
    """Read a machine; `place` is named in errors. Raises MachineError."""
    shown = shown_path(place) if isinstance(place, Path) else printable(place)
    text = text.replace("\r\n", "\n")
    table = _parsed(text, shown)
    try:
        file = checked(shown, table, _File)
        _check_finite(table)
        return _machine(file, shown)
    except PresetError as error:
        what = ": ".join(part for part in (error.what, error.note) if part)
        hint = re.sub(r"\bgpus\.\d+\.", "gpus.", error.hint)
        raise MachineError(shown, what, key=_key(error.path), line=_line(text, error.path), hint=hint) from error


def _machine(file: _File, shown: str) -> Machine:
    """Raises PresetError."""
    memory, disk = file.ram, file.disk
    cards = tuple(_card(checked(shown, table, _Gpu, _entry(at)), at) for at, table in enumerate(file.gpus))
    return Machine(
        cards,
        Ram(
            _bytes(memory.total_gib, GIB),
            _bytes(memory.available_gib, GIB),
            _bytes(memory.limit_gib, GIB),
            _bytes(memory.swap_total_gib, GIB),
            _bytes(memory.swap_used_gib, GIB),
        ),
        _speed(memory.bandwidth_gb_per_s, memory.bandwidth_source),
        Cpu(**msgspec.structs.asdict(file.cpu)),
        Disk(
            disk.kind,
            disk.device,
            disk.model,
            disk.file_system,
            _bytes(disk.total_gb, GB),
            _bytes(disk.free_gb, GB),
            disk.pcie_gt_per_s,
            disk.pcie_lanes,
            _speed(disk.read_gb_per_s, disk.read_source),
            disk.note,
        ),
        file.wsl2,
        file.power,
        file.notes,
        file.title,
        file.origin,
    )


def _card(gpu: _Gpu, at: int) -> Card:
    if gpu.free_gib is not None and gpu.free_gib > gpu.vram_gib:
        raise PresetError("", "wrong value", path=(*_entry(at), "free_gib"), note="more than vram_gib")
    return Card(
        gpu.name,
        round(gpu.vram_gib * GIB),
        _bytes(gpu.free_gib, GIB),
        _bytes(gpu.others_gib, GIB),
        gpu.driver,
        _speed(gpu.bandwidth_gb_per_s, gpu.bandwidth_source),
        gpu.watts_limit,
    )


def _gpu_table(card: Card) -> _Gpu:
    bandwidth, source = _written(card.bandwidth)
    free, others = _gib(card.free_bytes), _gib(card.others_bytes)
    watts, driver = card.watts_limit, _short(card.driver)
    return _Gpu(_short(card.name), card.total_bytes / GIB, free, others, bandwidth, source, watts, driver)


def _gib(value: int | None) -> float | None:
    return None if value is None else value / GIB


def _gb(value: int | None) -> float | None:
    return None if value is None else value / GB


def _bytes(value: float | None, unit: int) -> int | None:
    return None if value is None else round(value * unit)


def _written(speed: Speed | None) -> tuple[float | None, SpeedSource]:
    return (None, "published") if speed is None else (speed.bytes_per_s / GB, speed.source)


def _speed(gb_per_s: float | None, source: SpeedSource) -> Speed | None:
    return None if gb_per_s is None else Speed(round(gb_per_s * GB), source)


def _short(text: str) -> str:
    return text[:_LONGEST]


def _clean(value: Any, depth: int) -> Any:
    """Take out of every text what a terminal would obey. Raises RecursionError if it is nested deeper than `depth`."""
    if depth < 0:
        raise RecursionError
    if isinstance(value, str):
        return "".join(character for character in value if character.isprintable())
    if isinstance(value, dict):
        return {key: _clean(inner, depth - 1) for key, inner in value.items()}
    return [_clean(inner, depth - 1) for inner in value] if isinstance(value, list) else value


def _check_finite(table: dict[str, Any], at: Key = ()) -> None:
    """Refuse nan, which msgspec lets through every bound. Raises PresetError."""
    for key, value in table.items():
        if isinstance(value, dict):
            _check_finite(value, (*at, key))
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                if isinstance(inner, dict):
                    _check_finite(inner, _entry(number))
        elif isinstance(value, float) and not math.isfinite(value):
            raise PresetError("", "wrong value", path=(*at, key), note="expected a number")


def _parsed(text: str, shown: str) -> dict[str, Any]:
    try:
        table: dict[str, Any] = _clean(tomllib.loads(text), _DEEPEST)
    except RecursionError as error:
        raise MachineError(shown, "nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        what, line = refusal(error, text)
        raise MachineError(shown, f"not valid TOML: {printable(what, 200)}", line=line) from error
    return table


def _entry(number: int) -> Key:
    """Return the path of one of the [[gpus]], counted from 0."""
    return ("gpus", str(number))


def _key(path: Key) -> str:
    if len(path) >= 2 and path[0] == "gpus":
        return dotted(("gpus", *path[2:])) + (f" (card {int(path[1]) + 1})" if path[1] != "0" else "")
    return dotted(path)


def _line(text: str, path: Key) -> int | None:
    """Return the line of a key. Of several [[gpus]] the scanner knows the first; the others are looked for by head."""
    if len(path) < 2 or path[0] != "gpus":
        return line_of(key_lines(text), path)
    heads = [match.start() for match in re.finditer(r"^[ \t]*\[\[[ \t]*gpus[ \t]*\]\]", text, re.MULTILINE)]
    number = int(path[1])
    if number >= len(heads):
        return line_of(key_lines(text), ("gpus",))
    before = text.count("\n", 0, heads[number])
    line = line_of(key_lines(text[heads[number] :]), ("gpus", *path[2:]))
    return None if line is None else before + line
