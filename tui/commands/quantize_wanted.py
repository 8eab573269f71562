"""What `quantize` is asked for: which model, by which recipe, into which file."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from backends.errors import Problem
from backends.gguf.files import read_shape
from backends.gguf.mixes import Mix
from backends.shown import printable
from presets import built
from presets.catalog import Catalog, find, load_catalog
from presets.drafting import family_of, quantization_in, short_title, source_text, without_quantization
from presets.found import find_models
from presets.problems import PresetError
from presets.recipes import find_recipe
from presets.schema import PresetEntry, source_for
from presets.sources import HuggingFace, Located, Ollama, Server, Source, locate, parse
from tui.settings import model_folders

RUNS = "llama_cpp"
_SCHEMES = ("hf:", "ollama:", "file:", "package:", "server:")


class Wanted(msgspec.Struct, frozen=True):
    """One model to be made. `text` is its source as a preset writes it, `quantization` what its name says of it.

    `entry` is the preset that was named, None where none was; `own` says that it uses the result by itself.
    """

    text: str
    source: Source
    located: Located
    family: str
    quantization: str
    mix: Mix
    target: Path
    entry: PresetEntry | None = None
    own: bool = False

    @property
    def title(self) -> str:
        return short_title(self.family, self.mix.name)

    @property
    def path(self) -> Path | None:
        """The file to be read, None where it is not here."""
        return self.located.path if self.located.present else None


def wanted(arguments: argparse.Namespace) -> Wanted:
    """Return what the arguments ask for. Raises Problem, and leaves where they ask for nothing that makes sense."""
    catalog = load_catalog()
    entry, text = _source(catalog, arguments.source)
    build = entry.preset.build if entry is not None else None
    recipe: str = arguments.recipe or (build.recipe if build is not None else "")
    if not recipe:
        arguments.usage_error("say which recipe: --recipe NAME; `deepseek-tui quantize --recipes` lists them")
    mix = find_recipe(recipe)
    source = parse(text)
    located = locate(source)
    if isinstance(source, Ollama | Server) or (isinstance(source, HuggingFace) and source.is_folder):
        hint = "Name a GGUF file of this machine, a preset that runs one, or hf:OWNER/REPO/FILE."
        raise Problem("Only a GGUF file can be quantised", printable(text, 400), hint)
    family, quantization = _names(entry or _user_of(catalog, text), source, located)
    # A preset may write a recipe of llama.cpp's in any case, and looks for a file of the name that it has written.
    told = build.recipe if build is not None else ""
    as_told = told == mix.name or (not mix.rules and told.upper() == mix.name)
    target = _target(arguments.target, family, told if as_told else mix.name)
    own = as_told and target == built.built_file(family, told)
    return Wanted(text, source, located, family, quantization, mix, target, entry, own)


def target_of(arguments: argparse.Namespace) -> Path:
    """Return which file a job makes that is to be stopped: named by itself, by its preset, or as it was begun.

    Raises Problem.
    """
    if arguments.target is not None or arguments.recipe is not None:
        return wanted(arguments).target
    entry = _preset(load_catalog(), arguments.source)
    if entry is None:
        return Path(arguments.source).expanduser().absolute()
    if entry.preset.build is not None:
        return built.built_file(entry.preset.model.family, entry.preset.build.recipe)
    located = locate(parse(source_for(entry.preset, RUNS, name=entry.name)))
    if located.path is None:
        raise Problem(f"{entry.preset.title} is not made on this machine", located.detail, "Name the file.")
    return located.path


def _source(catalog: Catalog, name: str) -> tuple[PresetEntry | None, str]:
    """Return the preset that was named, if one was, and the source to be read. Raises Problem."""
    entry = _preset(catalog, name)
    if entry is not None:
        build = entry.preset.build
        return entry, build.source if build is not None else source_for(entry.preset, RUNS, name=entry.name)
    found = () if name.startswith((*_SCHEMES, "/", "./", "../", "~")) else find_models(model_folders()).found
    try:
        return None, source_text(name, found)
    except Problem as problem:
        hint = f"{problem.hint} Or name a preset: `deepseek-tui presets` lists them."
        raise Problem(problem.title, problem.detail, hint) from problem


def _user_of(catalog: Catalog, text: str) -> PresetEntry | None:
    """Return a preset that runs a source: it knows better than a header what the model is called."""
    return next((one for one in catalog.entries if one.preset.backends.get(RUNS, {}).get("source") == text), None)


def _preset(catalog: Catalog, name: str) -> PresetEntry | None:
    """Return the preset of this name, None for what is none. Raises PresetError for one that is broken."""
    if name.startswith(_SCHEMES) or "/" in name or name.lower().endswith(".gguf") or Path(name).is_file():
        return None
    try:
        return find(catalog, name)
    except PresetError:
        if any(problem.name == name for problem in catalog.problems):
            raise
        return None


def _names(entry: PresetEntry | None, source: Source, located: Located) -> tuple[str, str]:
    """Return the model's name and its quantisation: as the preset, the file that is here, or the file's name says.

    Raises BadModelFile for a file that is damaged or is no model.
    """
    file = getattr(source, "file", "") or getattr(source, "path", "")
    file = file.rpartition("/")[2]
    quantization = quantization_in(file)
    if located.present and located.path is not None:
        shape = read_shape(located.path)
        quantization = shape.quantization or quantization
        if entry is None:
            return family_of(shape.name, without_quantization(file, quantization_in(file))), quantization
    if entry is not None:
        return entry.preset.model.family, quantization or entry.preset.model.quantization
    return family_of("", without_quantization(file, quantization)), quantization


def _target(text: str | None, family: str, recipe: str) -> Path:
    """Return where the result goes: our folder of models where nothing else is said. Raises Problem."""
    if text is None:
        return built.built_file(family, recipe)
    try:
        path = Path(text).expanduser().absolute()
        if path.is_dir() or text.endswith("/"):
            path /= built.file_name(family, recipe)
    except (OSError, ValueError, RuntimeError) as error:
        raise Problem("The target cannot be a file", printable(text, 400), str(error)) from error
    if path.suffix.lower() != ".gguf" or not path.name.isprintable():
        hint = f"Name it so that programs find it: {built.file_name(family, recipe)}"
        raise Problem("The target's name has to end in .gguf", printable(text, 400), hint)
    return path
