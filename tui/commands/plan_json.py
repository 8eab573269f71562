"""A plan as one JSON object: figures in SI units, each with what it is, and the same sentences as the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from backends.hardware.machine import Machine
from backends.quality.figures import Quality
from presets import families
from presets.plan import PresetPlan
from tui.chat.bill import Rates
from tui.plans import told


def document(
    machine: Machine, plans: Sequence[PresetPlan], rates: Rates, costs: Mapping[str, dict[str, float]]
) -> dict[str, Any]:
    """Return the machine and a plan for each preset."""
    return {
        "machine": msgspec.to_builtins(machine),
        "presets": [_preset(plan, machine, rates, costs) for plan in plans],
    }


def _preset(plan: PresetPlan, machine: Machine, rates: Rates, costs: Mapping[str, dict[str, float]]) -> dict[str, Any]:
    found, known, published, measured = plan.fit, plan.known, plan.published, plan.measured
    head = {
        "name": plan.name,
        "title": plan.title,
        "backend": plan.backend,
        "family": plan.family,
        "quantization": plan.quantization,
        "present": plan.located.present,
        "size_bytes": plan.size_bytes,
        "problem": plan.problem,
        "hint": plan.hint or plan.located.hint,
        "shape": {"origin": known.origin, "note": known.note, "sha256": known.sha256} if known is not None else None,
        "published": msgspec.to_builtins(published) if published is not None else None,
        "measured": msgspec.to_builtins(measured) if measured is not None else None,
        "tokens_per_second": {
            "predicted": found.tokens_per_second if found is not None else None,
            "published": published.tokens_per_second if published is not None else None,
            "measured": measured.tokens_per_second if measured is not None else None,
        },
        "columns": [
            {"name": one.name, "predicted": one.predicted, "published": one.published, "measured": one.measured}
            for one in told.columns(plan, machine, rates, costs)
        ],
        "loss": _loss(plan.loss),
        "warnings": plan.warnings,
    }
    if found is None:
        return head
    plain = msgspec.to_builtins(found)
    del plain["tokens_per_second"], plain["warnings"]
    for one in plain["alternatives"]:
        one["published_kld"] = _published_kld(one)
    if found.streamed_bytes is None:
        # Whether memory holds the CPU's part is unknown, and so what is read again.
        plain["bytes"]["ssd"] = dict.fromkeys(plain["bytes"]["ssd"])
        for one in plain["alternatives"]:
            one["ssd_bytes"] = 0 if one["whole"] else None
    return {**head, **plain, "speed": told.seconds(plan)}


def _loss(loss: Quality | None) -> dict[str, Any] | None:
    """Return what was measured of this very file, as `bench --quality --json` has it."""
    if loss is None:
        return None
    from tui.commands.bench_quality_words import plain

    return plain(loss)


def _published_kld(one: Mapping[str, Any]) -> float | None:
    """Return what another model lost with an alternative's quantisation; None for another model, and where unknown."""
    quality = families.quality(one["quantization"]) if one["changes"] == "quantization" else None
    return None if quality is None else quality.kld
