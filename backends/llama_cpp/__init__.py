"""llama.cpp over its low-level binding. Importing this package does not import the engine; its methods do."""

from backends.llama_cpp.engine import LlamaCppBackend
from backends.llama_cpp.options import LlamaCppOptions

__all__ = ["LlamaCppBackend", "LlamaCppOptions"]
