"""Who is to answer: a preset on one of its backends, resolved to what a host needs to know."""

from __future__ import annotations

import msgspec

from backends.base import ReasoningStyle, Sampling
from backends.errors import ModelNotFound
from backends.host.wire import HostSpec
from backends.version import build_id
from presets.schema import PresetEntry, options_for, source_for
from presets.sources import locate, parse
from tui.chat.store import Asked


class Target(msgspec.Struct, frozen=True):
    """A preset ready to be loaded. `label` names it on answers: "Starter 135M · llama.cpp"."""

    preset: str
    title: str
    label: str
    spec: HostSpec
    sampling: Sampling
    reasoning: ReasoningStyle

    @property
    def asked(self) -> Asked:
        return Asked(self.preset, self.spec.backend, self.spec.model)


def resolve(entry: PresetEntry, backend: str | None = None, keep_alive_s: float | None = None) -> Target:
    """Return a preset as a target. Raises PresetError, NotInstalled, or ModelNotFound with how to get the model."""
    preset = entry.preset
    chosen = backend or preset.backend
    options = options_for(preset, chosen, name=entry.name)
    located = locate(parse(source_for(preset, chosen, name=entry.name)))
    if located.present is False:
        raise ModelNotFound(f"{preset.title}: {located.detail or 'the model is not here'}", "", located.hint)
    default = HostSpec.keep_alive_s if keep_alive_s is None else keep_alive_s
    spec = HostSpec(
        backend=chosen,
        model=located.model,
        options=options,
        title=preset.title,
        build=build_id(),
        keep_alive_s=default if preset.keep_alive_s is None else preset.keep_alive_s,
    )
    return Target(
        preset=entry.name,
        title=preset.title,
        label=f"{preset.title} · {backend_title(chosen)}",
        spec=spec,
        sampling=preset.sampling,
        reasoning=preset.model.reasoning,
    )


def backend_title(name: str) -> str:
    """Return a backend's name as people write it, without importing it."""
    return {"llama_cpp": "llama.cpp", "exllamav2": "ExLlamaV2", "ollama": "Ollama", "openai": "OpenAI"}.get(name, name)
