"""What a preset may say. One TOML file is one preset; `presets/builtin` holds commented examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from backends.base import ReasoningStyle, Sampling
from backends.errors import NotInstalled
from presets.checking import checked
from presets.problems import PresetError
from presets.sources import HuggingFace, Ollama, Server, Source, SourceError, parse
from presets.toml_lines import Key

SLOTS = 6
"""Presets one key away: slot 1 is F2, slot 6 is F7."""

GGUF = "gguf"
"""The source of Ollama's that stands for the file of llama.cpp."""

OptionsType = Callable[[str], type[msgspec.Struct]]
"""Gives a backend's Options struct by the backend's name; raises NotInstalled for an unknown one."""

_Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class ModelInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model this is, for the reader. `reasoning` says how the model marks its thoughts."""

    family: str
    quantization: str
    reasoning: ReasoningStyle = "auto"
    licence: str = ""


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody else's figures, shown beside ours and never used for planning. None means not published.

    `vram_gb` and `ram_gb` are 10⁹ bytes, `tokens_per_second` the lowest and the highest, `usd_per_answer` US dollars.
    `gpu_layers` and `context` are the settings with which they were reached, `loss_percent` what the quantisation is
    said to lose, the least and the most.
    """

    vram_gb: _Positive | None = None
    ram_gb: _Positive | None = None
    ssd: bool = False
    tokens_per_second: tuple[_Positive, _Positive] | None = None
    usd_per_answer: _Positive | None = None
    gpu_layers: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    context: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)] | None = None
    loss_percent: tuple[_Positive, _Positive] | None = None


class Build(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the model can be made on this machine: `deepseek-tui quantize PRESET` does it, and the preset then uses it.

    `recipe` is a name that `deepseek-tui quantize --recipes` lists, `source` an unquantised GGUF file, of a split one
    the first part, written like any other source.
    """

    recipe: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
    source: str


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to run and how.

    `slot` 1…6 puts the preset on F2…F7; 0 takes it off, also off a key that another file gives it, and reads as None.
    `backend` is the first choice among the tables of `backends`. `context` is in
    tokens. `keep_alive_s` is how long the model stays loaded after its last client (None: the settings decide).
    `backends` maps a backend's name to its `source` and options. `build` is for those who would rather make the model
    than fetch it: what was made goes before llama.cpp's `source`.
    """

    title: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    backend: str
    model: ModelInfo
    slot: Annotated[int, msgspec.Meta(ge=0, le=SLOTS)] | None = None
    description: str = ""
    context: Annotated[int, msgspec.Meta(ge=256, le=1 << 24)] | None = None
    keep_alive_s: Annotated[float, msgspec.Meta(ge=0, le=1e9)] | None = None
    sampling: Sampling = Sampling()
    backends: dict[str, dict[str, Any]] = {}
    build: Build | None = None
    published: Published | None = None
    extends: str = ""


class PresetEntry(msgspec.Struct, frozen=True):
    """A preset of the catalogue: its name (the file's, without .toml), where it stands, and notes for the user."""

    name: str
    preset: Preset
    file: Path
    builtin: bool
    notes: tuple[str, ...] = ()


def decode(name: str, table: dict[str, Any]) -> Preset:
    """Return the preset that a parsed TOML document describes. Raises PresetError, without file and line.

    Options of backends are not looked at: see `options_for` and `check_backends`.
    """
    preset = checked(name, table, Preset)
    if preset.slot == 0:
        preset = msgspec.structs.replace(preset, slot=None)
    _check_sampling(name, preset.sampling)
    if preset.build is not None:
        _check_build(name, preset, preset.build)
    for key in ("tokens_per_second", "loss_percent"):
        low, high = getattr(preset.published, key, None) or (1.0, 1.0)
        if low > high:
            raise PresetError(name, "wrong value", path=("published", key), note="expected the lower figure first")
    if preset.backend not in preset.backends:
        raise PresetError(
            name,
            "its backend has no table",
            path=("backend",),
            note=f"there is no [backends.{preset.backend}] in this preset" if preset.backend else "it is empty",
            hint=f"Name one of: {', '.join(preset.backends)}."
            if preset.backends
            else "Add a table such as [backends.llama_cpp] with a source.",
        )
    return preset


def check_backends(name: str, preset: Preset, options_type: OptionsType | None = None) -> tuple[str, ...]:
    """Check source and options of every backend that is installed; return a note for each one that is not.

    Without `options_type` no plug-in is imported, and no recipe is read: they are checked when they are used. Raises
    PresetError, without file and line.
    """
    notes = []
    for backend in preset.backends:
        if options_type is None and _is_plugin(backend):
            source_for(preset, backend, name=name)
            continue
        try:
            options_for(preset, backend, options_type, name=name)
        except NotInstalled as missing:
            notes.append(f"{missing.title}, so [backends.{backend}] was not checked. {missing.hint}".rstrip())
        else:
            source_for(preset, backend, name=name)
    if preset.build is not None and options_type is not None:
        _check_recipe(name, preset.build.recipe)
    return tuple(notes)


def options_for(
    preset: Preset, backend: str, options_type: OptionsType | None = None, *, name: str = ""
) -> dict[str, Any]:
    """Return every option of `backend` as plain values: its defaults, the preset's context, then its own table.

    Raises PresetError for a wrong or unknown option or a missing table, NotInstalled for an unknown backend.
    """
    table = dict(_table(preset, backend, name))
    table.pop("source", None)
    options = (options_type or registered_options)(backend)
    context = {"context": preset.context} if preset.context and "context" in options.__struct_fields__ else {}
    value = checked(name or preset.title, context | table, options, at=("backends", backend))
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def source_for(preset: Preset, backend: str, *, name: str = "") -> str:
    """Return where `backend` finds the model, as the preset writes it. Raises PresetError.

    `source = "gguf"` of Ollama is the file of llama.cpp, which the server is given before it is loaded there.
    """
    name = name or preset.title
    source = _table(preset, backend, name).get("source")
    path = ("backends", backend, "source")
    if source == GGUF and backend == "ollama":
        if "llama_cpp" not in preset.backends:
            hint = "Add [backends.llama_cpp] with a source, or name a tag: ollama:deepseek-r1:8b."
            raise PresetError(
                name, "wrong source", path=path, note="there is no file of llama.cpp to import", hint=hint
            )
        return _file_source(source_for(preset, "llama_cpp", name=name), name, path)
    if source is None:
        raise PresetError(
            name,
            "missing key",
            path=path,
            hint='Say where the model is, for example source = "file:~/models/model.gguf".',
        )
    if not isinstance(source, str):
        raise PresetError(name, "wrong type", path=path, note="expected text in quotes")
    try:
        parse(source)
    except SourceError as error:
        raise PresetError(name, "wrong source", path=path, note=error.detail, hint=error.hint) from error
    return source


def _file_source(source: str, name: str, path: Key) -> str:
    """Return a source if it is a GGUF file's. Raises PresetError."""
    if not _is_file(parse(source)):
        note = "the source of llama.cpp is no GGUF file"
        raise PresetError(name, "wrong source", path=path, note=note, hint="Only a file can be imported.")
    return source


def _check_build(name: str, preset: Preset, build: Build) -> None:
    """Check what can be checked without looking at files. Raises PresetError."""
    path = ("build", "source")
    try:
        found = parse(build.source)
    except SourceError as error:
        raise PresetError(name, "wrong source", path=path, note=error.detail, hint=error.hint) from error
    if not _is_file(found):
        hint = "Name an unquantised .gguf file: hf:OWNER/REPO/FILE or file:PATH."
        raise PresetError(name, "wrong source", path=path, note="nothing can be made of it", hint=hint)
    if "llama_cpp" not in preset.backends:
        hint = "Add [backends.llama_cpp]: it runs what is made."
        raise PresetError(name, "what it makes cannot be run", path=("build",), note="no llama.cpp here", hint=hint)


def _check_recipe(name: str, recipe: str) -> None:
    """Refuse the name of a recipe that there is not. Raises PresetError."""
    from presets.recipes import RecipeError, find_recipe

    try:
        find_recipe(recipe)
    except RecipeError as error:
        note = error.detail or error.what
        raise PresetError(name, "unknown recipe", path=("build", "recipe"), note=note, hint=error.hint) from error


def _is_file(source: Source) -> bool:
    return not isinstance(source, Ollama | Server) and not (isinstance(source, HuggingFace) and source.is_folder)


def registered_options(backend: str) -> type[msgspec.Struct]:
    """Return the Options of an installed backend. Raises NotInstalled."""
    # Imported here: looking up entry points takes longer than reading all presets.
    from backends import registry

    return registry.options_type(backend)


def _is_plugin(backend: str) -> bool:
    from backends import registry

    where = registry.place(backend)
    return where is not None and where.plugin


def _table(preset: Preset, backend: str, name: str) -> dict[str, Any]:
    try:
        return preset.backends[backend]
    except KeyError:
        raise PresetError(
            name or preset.title,
            f"it does not say how to run with {backend}",
            hint=f"It can run with: {', '.join(preset.backends)}.",
        ) from None


def _check_sampling(name: str, sampling: Sampling) -> None:
    ranges: tuple[tuple[str, float | None, float, float], ...] = (
        ("temperature", sampling.temperature, 0, 10),
        ("top_p", sampling.top_p, 0, 1),
        ("top_k", sampling.top_k, 0, 1 << 20),
        ("min_p", sampling.min_p, 0, 1),
        ("repeat_penalty", sampling.repeat_penalty, 0.01, 10),
        ("frequency_penalty", sampling.frequency_penalty, -10, 10),
        ("presence_penalty", sampling.presence_penalty, -10, 10),
        ("dry_multiplier", sampling.dry_multiplier, 0, 10),
        ("dry_base", sampling.dry_base, 1, 10),
        ("dry_allowed_length", sampling.dry_allowed_length, 1, 1 << 12),
        ("seed", sampling.seed, 0, (1 << 32) - 1),
        ("max_tokens", sampling.max_tokens, 1, 1 << 24),
    )
    for key, value, low, high in ranges:
        # "not <=" also refuses NaN.
        if value is not None and not low <= value <= high:
            shown = value if math.isfinite(value) and abs(value) < 1e15 else "a number beyond all sense"
            raise PresetError(
                name, "wrong value", path=("sampling", key), note=f"expected {low} to {high}, found {shown}"
            )
