"""A measurement as a person reads it: two tables and a plot over depth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backends.bench.figures import Comparison, Report, Spread, Unit
from tui import plot, terminal, units
from tui.commands import table

_WIDTH = 80
_NAME, _INTERVAL, _DETAIL = 0, 2, 5


def lines(title: str, report: Report) -> Iterator[str]:
    """Yield the lines of a report."""
    columns = table.width()
    wide = columns or _WIDTH
    ascii_only = not terminal.shows("█▏▁")
    layers = "" if not report.gpu_layers else f" · {report.gpu_layers} of {report.layers} layers on the GPU"
    context = f"{report.context_tokens:,}" if report.context_tokens is not None else "–"
    yield f"{title} · {report.device}{layers} · context {context} · {report.engine}"
    yield f"{Path(report.model).name} · {units.memory(report.model_bytes)}"
    for note in report.notes:
        yield f"note: {note}"
    yield ""
    head = ("DEPTH", "PREFILL", "DECODE", "FIRST TOKEN")
    rows = [
        (
            f"{one.depth_tokens:,}",
            _speed(one.prefill_tokens_per_second),
            _speed(one.decode_tokens_per_second),
            _value(one.first_token_s, "s"),
        )
        for one in report.depths
    ]
    yield from table.table(head, rows, columns)
    yield ""
    yield "decode over depth, tokens a second"
    points = [(f"{one.depth_tokens:,}", one.decode_tokens_per_second.median) for one in report.depths]
    yield from plot.bars(points, min(wide, _WIDTH), ascii_only=ascii_only)
    yield ""
    load = _value(report.load_s, "s") if report.load_s is not None else "–"
    yield f"loaded in {load} · first token of a short question after {_value(report.first_token_s, 's')}"
    memory = report.memory
    on_device = f" · {units.memory(memory.device_bytes)} on the GPU" if memory.device_bytes else ""
    peak = units.memory(memory.peak_bytes)
    yield f"peak memory {peak}, of it the engine's buffers {units.memory(memory.engine_bytes)}{on_device}"
    if report.against:
        yield ""
        yield from _against(report, columns, ascii_only=ascii_only)


def _against(report: Report, columns: int | None, *, ascii_only: bool) -> Iterator[str]:
    head = ("BESIDE THE ENGINE", "MEDIAN", "INTERVAL", "GOAL", "", "HOW")
    rows = [_comparison(one) for one in report.against.values()]
    yield from table.table(head, rows, columns, spare=(_DETAIL, _INTERVAL))
    if report.own_cpu_by_token:
        values = [cpu for _, cpu in report.own_cpu_by_token]
        last = report.own_cpu_by_token[-1][0]
        yield ""
        yield f"our CPU per token over {last:,} tokens, up to {_value(max(values), 's')}"
        yield plot.course(values, min(columns or _WIDTH, _WIDTH), ascii_only=ascii_only)
    yield ""
    yield "Intervals are order statistics around the median: the share says how surely they hold the true one."


def _comparison(one: Comparison) -> tuple[str, ...]:
    goal = f"{'≥' if one.better == 'more' else '≤'} {_value(one.goal, one.unit)}"
    verdict = {True: "met", False: "MISSED", None: "not measured"}[one.met]
    if one.value is None:
        return (one.title, "–", "", goal, verdict, one.detail)
    return (one.title, _value(one.value.median, one.unit), _interval(one.value, one.unit), goal, verdict, one.detail)


def _interval(value: Spread, unit: Unit) -> str:
    if value.coverage is None:
        return ""
    return f"{_value(value.low, unit)} – {_value(value.high, unit)} ({value.coverage:.0%})"


def _speed(value: Spread) -> str:
    digits = 0 if value.median >= 100 else 1
    shown = f"{value.median:.{digits}f} tok/s"
    return shown if value.samples == 1 else f"{shown} ({value.low:.{digits}f}–{value.high:.{digits}f})"


def _value(amount: float, unit: Unit) -> str:
    match unit:
        case "ratio":
            return f"{amount:.3f}"
        case "bytes":
            return units.memory(round(amount))
        case "tokens":
            return f"{amount:,.0f}"
        case "s":
            if amount < 1e-3:
                return f"{amount * 1e6:.0f} µs"
            return f"{amount * 1e3:.0f} ms" if amount < 1 else f"{amount:.1f} s"
