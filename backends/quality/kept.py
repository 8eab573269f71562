"""Measurements that were made on this machine, by the hash of the file that was measured."""

from __future__ import annotations

from pathlib import Path

import msgspec

from backends import file_hash, remembered
from backends.gguf.files import part_names
from backends.quality.figures import Quality

_KIND = "quality"
_KEPT = 4
"""Of each file so many are kept: against other files, or on other texts."""


def recall(path: Path) -> tuple[Quality, ...]:
    """Return what was measured of a model that lies here, the newest first. Reads no model: () for one never hashed."""
    return of(known_digest(path))


def best(path: Path) -> Quality | None:
    """Return the measurement that says most about what quantising cost: against the largest file of the same model.

    Against a smaller file, what was measured is mostly that one's loss: it does not count.
    """
    found = [one for one in recall(path) if one.of_one_model and one.model.sha256 != one.base.sha256]
    found = [one for one in found if not one.base.layers or one.base.size_bytes >= one.model.size_bytes]
    return max(found, key=lambda one: (one.base.size_bytes, one.scored, one.measured_at), default=None)


def of(sha256: str) -> tuple[Quality, ...]:
    """Return what was measured of a file with this hash, the newest first."""
    if not sha256:
        return ()
    try:
        return msgspec.convert(remembered.read(_KIND, sha256), tuple[Quality, ...])
    except msgspec.ValidationError:
        return ()


def keep(quality: Quality) -> None:
    """Keep a measurement, in place of an earlier one against the same file on no more of the same text."""
    others = [one for one in of(quality.model.sha256) if _what(one) != _what(quality) or one.scored > quality.scored]
    remembered.write(_KIND, quality.model.sha256, msgspec.to_builtins((quality, *others)[:_KEPT]))


def known_digest(path: Path) -> str:
    """Return the hash of a model, all its parts together, where it is known without reading it; else ""."""
    return file_hash.of_parts(file_hash.known_digest(path.with_name(name)) for name in part_names(path.name))


def _what(quality: Quality) -> tuple[str, str]:
    return quality.base.sha256, quality.text.sha256
