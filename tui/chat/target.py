"""Who is to answer: a preset on one of its backends, chosen, and resolved to what a host needs to know."""

from __future__ import annotations

import msgspec

from backends.base import ReasoningStyle, Sampling
from backends.errors import ModelNotFound, Problem
from backends.host.wire import KEEP_ALIVE_S, HostSpec
from backends.version import build_id
from presets.catalog import Catalog, find
from presets.schema import PresetEntry, options_for, source_for
from presets.sources import locate, parse
from tui.chat.asking import Asking
from tui.chat.storing.stored import Asked

CONTEXT = "context"


class Target(msgspec.Struct, frozen=True):
    """A preset ready to be loaded. `system` is what the model is told before anything else, "" is nothing."""

    preset: str
    title: str
    spec: HostSpec
    sampling: Sampling
    reasoning: ReasoningStyle
    system: str = ""

    @property
    def asked(self) -> Asked:
        return Asked(self.preset, self.spec.backend, self.spec.model)

    @property
    def server(self) -> str:
        """The address of the server that is asked, "" where the backend's options name none."""
        return str(self.spec.options.get("base_url") or self.spec.options.get("host") or "")

    @property
    def can_grow(self) -> bool:
        """Whether the backend's options say how large the context is."""
        return CONTEXT in self.spec.options

    def with_context(self, tokens: int) -> Target:
        """Return the same model to be loaded with a context of so many tokens."""
        options = {**self.spec.options, CONTEXT: tokens}
        return msgspec.structs.replace(self, spec=msgspec.structs.replace(self.spec, options=options))

    def asked_so(self, asking: Asking) -> Target:
        """Return the same model as a chat asks for it; a context only where its backend can be told one."""
        told = msgspec.structs.replace(self, sampling=asking.over(self.sampling), system=asking.system)
        return told if asking.context is None or not self.can_grow else told.with_context(asking.context)


def resolve(entry: PresetEntry, backend: str | None = None, keep_alive_s: float | None = None) -> Target:
    """Return a preset as a target. Raises PresetError, NotInstalled, or ModelNotFound with how to get the model."""
    preset = entry.preset
    chosen = backend or preset.backend
    options = options_for(preset, chosen, name=entry.name)
    located = locate(parse(source_for(preset, chosen, name=entry.name)))
    if located.present is False:
        raise ModelNotFound(f"{preset.title}: {located.detail or 'the model is not here'}", "", located.hint)
    default = KEEP_ALIVE_S if keep_alive_s is None else keep_alive_s
    spec = HostSpec(
        backend=chosen,
        model=located.model,
        options=options,
        title=preset.title,
        build=build_id(),
        keep_alive_s=default if preset.keep_alive_s is None else preset.keep_alive_s,
        preset=entry.name,
    )
    return Target(
        preset=entry.name,
        title=preset.title,
        spec=spec,
        sampling=preset.sampling,
        reasoning=preset.model.reasoning,
    )


def choose(
    catalog: Catalog,
    named: str | None,
    last: str | None,
    backend: str | None = None,
    keep_alive_s: float | None = None,
) -> Target:
    """Return who is to answer: the preset `named`, else the one used `last`, else the first that can run.

    Raises Problem: an unknown or broken preset, no model, no such backend.
    """
    if named:
        return resolve(find(catalog, named), backend, keep_alive_s)
    first: Problem | None = None
    for entry in sorted(catalog.entries, key=lambda entry: entry.name != last):
        try:
            return resolve(entry, backend, keep_alive_s)
        except Problem as problem:
            first = first or problem
    if first is None:
        raise Problem("There is no preset", "", "`deepseek-tui presets check` tells what is wrong with yours.")
    raise Problem("No model is here yet", f"For example {first}", first.hint)
