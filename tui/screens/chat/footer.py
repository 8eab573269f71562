"""What the footer says: the model, its speed, the context, what is saved, and the card."""

from __future__ import annotations

from backends.base import Loaded
from backends.hardware.gpu import GpuReading
from backends.host.wire import Status
from backends.titles import backend_title
from tui.chat.answer import Answer
from tui.chat.session import Session
from tui.chat.stored import StoredMessage
from tui.chat.target import Target
from tui.units import DASH, bar, count


def status_parts(session: Session, reading: GpuReading | None, *, short: bool) -> list[str]:
    """Return the parts of the footer, most important first."""
    last = session.branch[-1] if session.branch and session.branch[-1].role == "assistant" else None
    # While an answer runs, the figures are those of the model that gives it, whichever was chosen for the next one.
    target = session.loaded_target or session.target if session.answer is not None else session.target
    saved = saved_part(session.unsaved, answering=session.answer is not None, empty=not session.branch)
    parts = [
        model_part(_named(target, short=short), session.status),
        speed_part(session.answer, last),
        context_part(session.answer, last, session.status),
        vram_part(reading, short=short),
    ]
    return [saved, *parts] if session.unsaved else [*parts[:3], saved, *parts[3:]]


def _named(target: Target | None, *, short: bool) -> str:
    """Return the preset and its backend; where there is little room llama.cpp goes without saying."""
    if target is None:
        return "No preset"
    backend = target.spec.backend
    return target.title if short and backend == "llama_cpp" else f"{target.title} · {backend_title(backend)}"


def model_part(title: str, status: Status | None) -> str:
    """Return the footer's first part: the model and how many of its layers are on the card."""
    if status is None or status.phase in {"ending", "failed"}:
        return f"{title} · not loaded"
    loaded = status.loaded
    if loaded is None:
        return f"{title} · loading"
    if loaded.layers is None or loaded.gpu_layers is None:
        return f"{title} · {_share(loaded)}" if loaded.vram_bytes is not None and loaded.model_bytes else title
    where = f"{loaded.gpu_layers}/{loaded.layers} layers on the card" if loaded.gpu_layers else "CPU"
    return f"{title} · {where}"


def _share(loaded: Loaded) -> str:
    """Return how much of a model its server holds on a card: a server counts bytes, not layers."""
    share = (loaded.vram_bytes or 0) / (loaded.model_bytes or 1)
    return "CPU" if not loaded.vram_bytes else f"{min(share, 1):.0%} on the card"


def vram_part(reading: GpuReading | None, *, short: bool = False) -> str:
    """Return the card's memory, or a dash where there is no card or no word from it."""
    if reading is None or not reading.gpus:
        return f"VRAM {DASH}"
    gpu = reading.gpus[0]
    used, total = f"{gpu.used_bytes / 1e9:.1f}", f"{gpu.total_bytes / 1e9:.1f}"
    ours = f" ({gpu.ours_bytes / 1e9:.1f} ours)" if gpu.ours_bytes is not None and not short else ""
    shown = "" if short else f"▕{bar(gpu.used_bytes / gpu.total_bytes, 8)}▏ "
    return f"VRAM {shown}{used}/{total} GB{ours}"


def speed_part(answer: Answer | None, last: StoredMessage | None) -> str:
    """Return tokens a second: live while an answer grows, then the engine's own figure of the last one."""
    speed = answer.tokens_per_second if answer is not None else None
    if answer is None and last is not None and last.timings is not None:
        speed = last.timings.tokens_per_second
    return f"{speed:.1f} tok/s" if speed is not None else f"{DASH} tok/s"


def context_part(answer: Answer | None, last: StoredMessage | None, status: Status | None) -> str:
    """Return how full the context is, in the engine's own counts."""
    tokens = answer.context_tokens if answer is not None else None
    if answer is None and last is not None and last.usage is not None:
        tokens = last.usage.context_tokens
    context = status.loaded.context if status is not None and status.loaded is not None else None
    return f"context {count(tokens)}/{count(context)}"


def saved_part(unsaved: str, *, answering: bool, empty: bool) -> str:
    """Return whether what is on the screen is on disk."""
    if unsaved:
        return f"✗ not saved: {unsaved}"
    if empty:
        return ""
    return "saving" if answering else "saved"
