"""A first text for a preset of the user's own: from a file, a folder, a repository, an Ollama tag, a found model.

What a preset needs is read from the model's header where there is one, else taken from its name, and each line says
what it is for.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from backends.base import ReasoningStyle
from backends.errors import Problem
from backends.gguf.shape import Shape
from backends.shown import printable
from presets.families import families
from presets.found import Found, choose
from presets.found_headers import thinks
from presets.schema import GGUF, ModelInfo
from presets.shapes import known_shape
from presets.sources import HuggingFace, LocalFile, Ollama, Server, Source, SourceError, locate, parse, written
from presets.toml_edit import literal
from presets.writing import name_from

CONTEXT = 8192
"""R1 thinks for thousands of tokens, and a card of 8 GB holds such a context beside an 8B."""
_QUANTIZATION = re.compile(
    r"(?i)(?:^|[-._])((?:i?q[1-8](?:_(?:k|0|1|xxs|xs|s|m|l|nl))+)|iq[1-4]_[a-z]{1,3}|bf16|f16|f32|fp16)(?=$|[-._@])"
)
_SCHEMES = ("hf:", "ollama:", "file:", "package:", "server:")
_HUB = {"huggingface.co", "www.huggingface.co", "hf.co"}
_UNTOLD = "unknown"
_TITLE_CELLS = 60

Fetch = Callable[[HuggingFace], Shape]


class Draft(msgspec.Struct, frozen=True):
    """What a new preset is to say. `sources` are by backend, the first choice first; `notes` go above them.

    `written_by` is the command that writes it.
    """

    name: str
    title: str
    family: str
    quantization: str
    reasoning: ReasoningStyle
    sources: dict[str, str]
    context: int = CONTEXT
    trained: int | None = None
    slot: int | None = None
    notes: tuple[str, ...] = ()
    written_by: str = "presets new"


def source_text(text: str, found: Iterable[Found] = ()) -> str:
    """Return what a person wrote as a preset's source: a source, a path, a web address of Hugging Face, a found model.

    Raises SourceError.
    """
    text = text.strip()
    if text.startswith(_SCHEMES):
        parse(text)
        return text
    if text.startswith(("https://", "http://")):
        return _from_address(text)
    model = choose(text, found)
    if model is not None:
        return source_of(model)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # too long, a zero byte, nobody's home
        path = Path(text).expanduser()
        if text and (text.startswith(("/", "./", "../", "~")) or path.exists()):
            source = f"file:{path.absolute()}"
            parse(source)
            return source
    hint = "A source is a file, hf:OWNER/REPO/FILE, ollama:TAG, or a model that `deepseek-tui models` lists."
    raise SourceError(
        "Not a source", f"{text[:120]!r}: there is no such file, and no model of this name was found", hint
    )


def source_of(found: Found) -> str:
    """Return the source under which a preset finds a model of this machine: as portable as it can be."""
    if found.place in {"deepseek-tui", "Hugging Face"} and found.repository and found.file:
        text = f"hf:{found.repository}/{found.file}"
        try:
            if locate(parse(text)).present:
                return text
        except SourceError:
            pass
    return f"file:{found.path}"


def draft(source: str, found: Iterable[Found] = (), fetch: Fetch | None = None) -> Draft:
    """Return a draft of a preset for `source`, as `source_text` gives it.

    `fetch` may read the header of what is not here yet; what it fails at is noted. Raises SourceError, and BadModelFile
    for a file of this machine that is no model.
    """
    wanted = parse(source)
    match wanted:
        case Server():
            hint = "Write the preset by hand: it needs the server's address. `deepseek-tui backends openai` says how."
            raise SourceError("A server's model needs more than a name", source, hint)
        case Ollama(tag):
            return _of_ollama(source, tag, found)
        case LocalFile(path):
            stored = next((one for one in found if one.place == "Ollama" and str(one.path) == path), None)
            if stored is not None:
                return _of_stored(source, stored)
    located = locate(wanted)
    if isinstance(wanted, LocalFile) and not located.present:
        raise SourceError("There is no model", located.detail, located.hint)
    if located.path is not None and located.path.is_dir():
        return _of_folder(source, located.path)
    if isinstance(wanted, HuggingFace) and wanted.is_folder:
        return _of_repository(source, wanted.file.strip("/").rpartition("/")[2] or wanted.repo)
    notes: tuple[str, ...] = ()
    shape: Shape | None = None
    if located.present:
        known = known_shape(wanted, located, ModelInfo("", ""))
        shape = known.shape if known is not None else None
    elif isinstance(wanted, HuggingFace) and fetch is not None:
        try:
            shape = fetch(wanted)
        except Problem as problem:
            notes = (f"Its header could not be read when this was written: {problem.title}.",)
    return _of_gguf(source, _file_name(wanted), shape, notes)


def draft_of_made(shape: Shape, family: str, recipe: str, target: Path, source: str) -> Draft:
    """Return a draft for a model that is made at `target` by a recipe out of `source`, a file of this `shape`.

    The target need not be there yet. Ollama is given the same file.
    """
    style: ReasoningStyle = "auto"
    if shape.chat_template:
        style = "think-tags" if thinks(shape.chat_template) else "none"
    trained = shape.context_length
    return Draft(
        name_from(target.name),
        short_title(family, recipe),
        family,
        recipe,
        style,
        {"llama_cpp": f"file:{target}", "ollama": GGUF},
        min(CONTEXT, trained or CONTEXT),
        trained,
        notes=(f"Its model is made by the recipe {printable(recipe)} out of {printable(source, 400)}.",),
        written_by="quantize",
    )


def text_of(draft: Draft) -> str:
    """Return a draft as the text of a preset file."""
    trained = f"; the model was trained for {draft.trained:,}" if draft.trained else ""
    slot = f"slot = {draft.slot}" if draft.slot else "# slot = 6"
    backend = next(iter(draft.sources))
    lines = [
        f"# Written by `deepseek-tui {draft.written_by}`. Change what you like; `deepseek-tui presets check` finds "
        "mistakes.",
        *(f"# {note}" for note in draft.notes),
        "",
        f"title = {literal(draft.title)}",
        _explained(slot, "1 is F2, 2 is F3 … 6 is F7; without it the preset has no key"),
        _explained(f"backend = {literal(backend)}", "the first choice among the [backends.…] below"),
        _explained(f"context = {draft.context}", f"tokens{trained}"),
        "",
        "[model]",
        f"family = {literal(draft.family)}",
        f"quantization = {literal(draft.quantization)}",
        _explained(f"reasoning = {literal(draft.reasoning)}", '"think-tags" for <think> … </think>, "none", or "auto"'),
        "",
        _explained("[sampling]", "DeepSeek's own advice for R1"),
        "temperature = 0.6",
        "top_p = 0.95",
    ]
    for name, source in draft.sources.items():
        lines += ["", f"[backends.{name}]", f"source = {literal(source)}", *_OPTIONS.get(name, ())]
    return "\n".join(lines) + "\n"


def quantization_in(name: str) -> str:
    """Return the quantisation that a file or a tag has in its name, "" where there is none."""
    found = _QUANTIZATION.findall(name.rpartition("/")[2].removesuffix(".gguf"))
    return str(found[-1]).upper() if found else ""


def _explained(line: str, comment: str) -> str:
    return f"{line:<32} # {comment}"


_OPTIONS = {
    "llama_cpp": (
        _explained('gpu_layers = "auto"', "or a number: fewer where the card's memory is short, 0 for none"),
        _explained('kv_cache = "q8_0"', 'halves the memory of the context against "f16"'),
        _explained('flash_attention = "auto"', "a quantised KV cache needs it"),
        _explained('threads = "auto"', "physical cores"),
    ),
    "exllamav2": (_explained('kv_cache = "q4"', '"q6" and "q8" take more memory and lose less'),),
}


def _of_gguf(source: str, file: str, shape: Shape | None, notes: tuple[str, ...]) -> Draft:
    quantization = (shape.quantization if shape else "") or quantization_in(file)
    family = family_of(shape.name if shape else "", without_quantization(file, quantization))
    style: ReasoningStyle = "auto"
    if shape is not None and shape.chat_template:
        style = "think-tags" if thinks(shape.chat_template) else "none"
    trained = shape.context_length if shape else None
    return Draft(
        name_from(file if not file.startswith("sha256-") else f"{family}-{quantization}"),
        short_title(family, quantization),
        family,
        quantization or _UNTOLD,
        style,
        {"llama_cpp": source},
        min(CONTEXT, trained or CONTEXT),
        trained,
        notes=notes,
    )


def _of_ollama(source: str, tag: str, found: Iterable[Found]) -> Draft:
    """Draft for a tag; where its file can be read here, llama.cpp runs that too, without a second copy."""
    full = tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"
    here = next((one for one in found if one.place == "Ollama" and full in {one.name, *one.also}), None)
    if here is not None and not here.problem:
        drafted = _of_stored(f"file:{here.path}", here)
        sources = {"ollama": source, "llama_cpp": drafted.sources["llama_cpp"]}
        return msgspec.structs.replace(drafted, sources=sources)
    model, _, version = full.rpartition("/")[2].partition(":")
    return Draft(
        name_from(full.replace(":", "-")),
        short_title(full, ""),
        family_of("", model),
        quantization_in(version) or _UNTOLD,
        "auto",
        {"ollama": source},
    )


def _of_stored(source: str, here: Found) -> Draft:
    """Draft for a file of Ollama's store: llama.cpp reads it where it is, and Ollama has it under its tag."""
    return Draft(
        name_from(here.name.replace(":", "-")),
        short_title(here.name, ""),
        family_of(here.family, here.name.partition(":")[0]),
        here.quantization or _UNTOLD,
        "think-tags" if here.thinks else "none",
        {"llama_cpp": source, "ollama": f"ollama:{here.name}"},
        min(CONTEXT, here.context or CONTEXT),
        here.context,
        notes=("Both backends use the one file that Ollama keeps; it goes when Ollama removes the model.",),
    )


def _of_folder(source: str, path: Path) -> Draft:
    """Draft for an EXL2 or GPTQ folder. Raises BadModelFile, ModelNotFound."""
    from backends.exllamav2.folder import read_folder

    folder = read_folder(path)
    style: ReasoningStyle = "think-tags" if thinks(folder.template) else "none" if folder.template else "auto"
    return Draft(
        name_from(path.name),
        short_title(path.name, ""),
        family_of("", path.name),
        folder.kind,
        style,
        {"exllamav2": source},
        min(CONTEXT, folder.trained_context or CONTEXT),
        folder.trained_context,
    )


def _of_repository(source: str, name: str) -> Draft:
    """Draft for a model folder that is not here, by its name alone."""
    bits = re.search(r"(\d(?:\.\d+)?)[ _-]?bpw", name, re.IGNORECASE)
    kind = next(
        (word for word in ("EXL2", "GPTQ") if word.lower() in name.lower()), _UNTOLD if bits is None else "EXL2"
    )
    quantization = f"{kind} {bits[1]} bits" if bits else kind
    return Draft(
        name_from(name), short_title(name, ""), family_of("", name), quantization, "auto", {"exllamav2": source}
    )


def family_of(name: str, otherwise: str) -> str:
    """Return a model's name as this program knows it, else as its header or its file says it."""
    known = {_plain(family): family for family in families()}
    for text in (name, otherwise):
        if _plain(text) in known:
            return known[_plain(text)]
    # A folder's name goes on behind the model's.
    longest = max((plain for plain in known if _plain(otherwise).startswith(plain)), key=len, default="")
    return known.get(longest, name or otherwise or _UNTOLD)


def short_title(family: str, quantization: str) -> str:
    """Return what the screen may call a model: "Qwen-14B Q4_K_M"."""
    short = family.removeprefix("DeepSeek-R1-Distill-").removeprefix("DeepSeek-R1-")
    return f"{short} {quantization}".strip()[:_TITLE_CELLS]


def without_quantization(file: str, quantization: str) -> str:
    """Return a file's name without its ending, its number among parts, and its quantisation."""
    stem = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", file, flags=re.IGNORECASE)
    return stem[: -len(quantization) - 1] if quantization and stem.upper().endswith(quantization) else stem


def _file_name(source: Source) -> str:
    match source:
        case LocalFile(path):
            return Path(path).name
        case Ollama() | Server():
            return ""
        case _:
            return source.file.rpartition("/")[2]


def _from_address(text: str) -> str:
    """Return the source that a web address of a file at Hugging Face stands for. Raises SourceError."""
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    steps = [unquote(step) for step in parts.path.strip("/").split("/")]
    if parts.hostname in _HUB and len(steps) >= 5 and steps[2] in {"blob", "resolve", "raw"}:
        revision = "" if steps[3] == "main" else steps[3]
        source = written(HuggingFace(steps[0], steps[1], "/".join(steps[4:]), revision))
        parse(source)
        return source
    hint = "Write hf:OWNER/REPO/FILE.gguf, or the address of a file's page there."
    raise SourceError("Not a source", f"{printable(text)!r} is no address of a file at Hugging Face", hint)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())
