"""Ollama over its HTTP interface. Importing this package imports neither its client library nor an HTTP client."""

from backends.ollama.engine import OllamaBackend
from backends.ollama.options import OllamaOptions

__all__ = ["OllamaBackend", "OllamaOptions"]
