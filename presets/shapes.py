"""The shape of a model wherever it is: on this machine, at Hugging Face, remembered from there, or by rules."""

from __future__ import annotations

import time
from typing import Literal

import msgspec

from backends.base import Cancel
from backends.errors import ModelNotFound
from backends.gguf.files import read_shape
from backends.gguf.shape import Shape
from backends.hub.address import HubFile
from backends.hub.header import PATIENCE_S, RemoteHeader, fetch_header, kept_header
from backends.shown import printable
from presets.schema import ModelInfo
from presets.sources import HuggingFace, Located, Server, Source, written

Origin = Literal["file", "header", "rules"]


class Known(msgspec.Struct, frozen=True):
    """A shape and where it is from: a `file` of this machine, its `header` at Hugging Face now or earlier, or `rules`.

    `note` is a sentence for the user. `sha256` is the hash of the whole file where its publisher tells it, "" where it
    is not known: no file is read through for it.
    """

    shape: Shape
    origin: Origin
    note: str
    sha256: str = ""


def known_shape(source: Source, located: Located, model: ModelInfo) -> Known | None:
    """Return the best that is known of a model's shape without asking anybody, None where nothing is.

    `located` is where `presets.sources.locate` found `source`. Nothing is known of a model folder or a server's model.
    Raises BadGguf for a file of this machine that is damaged or is no model.
    """
    if isinstance(source, Server) or (located.path is not None and located.path.is_dir()):
        return None
    if located.present and located.path is not None:
        try:
            return Known(read_shape(located.path), "file", "Read from the header of the file on this machine.")
        except ModelNotFound:
            pass  # it went away in between
    if isinstance(source, HuggingFace) and (header := kept_header(_hub_file(source))):
        return _from_header(header)
    return _by_rules(model)


def fetch_shape(source: HuggingFace, *, patience_s: float = PATIENCE_S, cancel: Cancel | None = None) -> Known:
    """Ask Hugging Face, or the mirror in HF_ENDPOINT, for the first megabytes of a model, and remember its shape.

    What is remembered of a commit is for good and is not asked for again. This imports the HTTP client: not for the
    process of a screen. Raises Cancelled, BadGguf for what is no model, and BackendError for whatever is in the way, as
    for a model folder.
    """
    if source.is_folder:
        raise ModelNotFound("A model folder has no header", written(source), "Name a .gguf file in it.")
    file = _hub_file(source)
    header = kept_header(file)
    if header is None or not header.lasting:
        header = fetch_header(file, patience_s=patience_s, cancel=cancel)
    return _from_header(header)


def _hub_file(source: HuggingFace) -> HubFile:
    return HubFile(source.owner, source.repo, source.file, source.revision)


def _from_header(header: RemoteHeader) -> Known:
    server, commit = printable(header.server), printable(header.commit[:7])
    if header.lasting:
        note = f"Read from the header of the file at {server}, of the commit {header.file.revision[:7]}."
    else:
        as_of = time.strftime("%Y-%m-%d", time.localtime(header.read_at))
        of = f", of the commit {commit}" if commit else ""
        note = f"Read from the header of the file at {server} on {as_of}{of}; there may be a newer one."
    return Known(header.shape, "header", note, header.sha256)


def _by_rules(model: ModelInfo) -> Known | None:
    from presets.families import shape_by_rules

    shape = shape_by_rules(model.family, model.quantization)
    if shape is None:
        return None
    note = f"Worked out by llama.cpp's rules for {printable(model.quantization)} of {printable(model.family)}."
    return Known(shape, "rules", note)
