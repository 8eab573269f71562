"""Backends' names as people write them, known without importing a backend."""

from __future__ import annotations

_TITLES = {"llama_cpp": "llama.cpp", "exllamav2": "ExLlamaV2", "ollama": "Ollama", "openai": "OpenAI API"}


def backend_title(name: str) -> str:
    """Return a backend's name as people write it; that of an unknown one as it stands."""
    return _TITLES.get(name, name)
