"""The Modelfile that makes of a preset's GGUF file what `source = "gguf"` makes of it in an Ollama server."""

from __future__ import annotations

from backends.errors import ModelNotFound
from backends.ollama.modelfile import describe, modelfile
from presets.problems import PresetError
from presets.schema import PresetEntry, source_for
from presets.sources import HuggingFace, LocalFile, PackageFile, locate, parse

_FILE = "llama_cpp"


def modelfile_of(entry: PresetEntry) -> str:
    """Return the text. Raises PresetError for a preset without a GGUF file, ModelNotFound, BadModelFile."""
    source = parse(source_for(entry.preset, _FILE, name=entry.name))
    located = locate(source)
    if not isinstance(source, HuggingFace | LocalFile | PackageFile) or (located.path and located.path.is_dir()):
        hint = "Only a preset with a GGUF file for llama.cpp has one."
        raise PresetError(entry.name, "it has no file that Ollama could import", path=("backends", _FILE), hint=hint)
    if not located.present or located.path is None:
        title = f"{entry.preset.title}: {located.detail or 'the model is not here'}"
        raise ModelNotFound(title, "Its template is read from the file.", located.hint)
    return modelfile(describe(located.path))
