"""What would be measured once more: a measurement of the very same files, text and engine."""

from __future__ import annotations

from pathlib import Path

from backends.llama_cpp import binding
from backends.llama_cpp.quality import logprobs, store, texts
from backends.quality import kept
from backends.quality.figures import Quality
from backends.quality.wanted import Compare


def matching(wanted: Compare) -> Quality | None:
    """Return what such a measurement would find, None where it was not made or one of its files has changed.

    Raises BackendError where the text cannot be read.
    """
    base = Path(wanted.base)
    text = "" if logprobs.is_stored(base) else texts.read(wanted.text)[0].sha256
    for one in kept.recall(Path(wanted.model)):
        enough = one.chunks == wanted.chunks or one.whole if wanted.chunks else one.whole
        same = one.base.sha256 == kept.known_digest(base) and text in {"", one.text.sha256}
        if enough and same and one.engine == engine():
            return one
    return None


def rows_of(quality: Quality) -> Path | None:
    """Return where the base's probabilities of a measurement were kept, None where they were not."""
    path = store.kept_rows(store.key(quality.base.sha256, quality.text.sha256, quality.context_tokens, quality.engine))
    return path if path.exists() else None


def engine() -> str:
    """Return the engine with its version: another one may compute otherwise."""
    return f"llama-cpp-python {binding.version()}"
