"""From a folder to a model that is ready for requests: weights and cache on the cards, tokenizer, template, a trial."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from backends.base import Cancel, Cancelled
from backends.chat_template import choose_template
from backends.errors import BackendError, BadOptions
from backends.events import LoadProgress
from backends.exllamav2.binding import Libraries, libraries, must_compile
from backends.exllamav2.failures import load_failure
from backends.exllamav2.folder import ModelFolder
from backends.exllamav2.options import ExLlamaV2Options
from backends.exllamav2.tokens import Vocabulary
from backends.fitting import context_notes, round_context

if TYPE_CHECKING:
    from backends.template import ChatTemplate

Report = Callable[[LoadProgress], None]

_CACHES = {
    "f16": "ExLlamaV2Cache",
    "q8": "ExLlamaV2Cache_Q8",
    "q6": "ExLlamaV2Cache_Q6",
    "q4": "ExLlamaV2Cache_Q4",
}
_MIB = 1024**2
# Names of tokens that end an answer, whether or not the folder says so: not every publisher lists them all.
_ENDS = ("<｜end▁of▁sentence｜>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>")
_OUTPUTS = 16
"""Rows of logits to make room for: one token is generated at a time, and the generator's own batches have 16."""


class OpenModel(msgspec.Struct, frozen=True):
    """A model ready for requests. `context` is in tokens; `ends` are the tokens that end an answer."""

    libraries: Libraries
    folder: ModelFolder
    model: Any
    generator: Any
    vocabulary: Vocabulary
    template: ChatTemplate
    context: int
    ends: frozenset[int]
    device: str
    notes: tuple[str, ...]

    def close(self) -> None:
        """Unload the weights. The cache goes with the last that refers to it; see `give_back`."""
        self.generator.clear_queue()
        self.model.unload()


def open_model(folder: ModelFolder, options: ExLlamaV2Options, report: Report, cancel: Cancel) -> OpenModel:
    """Load a model whole onto the cards, the first one first.

    Raises Cancelled, NotInstalled, OutOfMemory, BadModelFile, BadOptions, EngineDied, or whatever `report` raises.
    """
    report(LoadProgress("reading"))  # PyTorch takes seconds to be imported
    note = _first_note()
    if note:
        report(LoadProgress("reading", None, note))
    if cancel.is_set():
        raise Cancelled
    libs = libraries()
    stopped: list[BaseException] = []

    def progress(done: int, total: int) -> None:
        try:
            if cancel.is_set():
                raise Cancelled
            report(LoadProgress("offloading", done / total if total else None))
        except BaseException as error:
            stopped.append(error)  # the engine may make another of it
            raise

    model = cache = tokenizer = generator = None
    try:
        config = _config(libs.package, folder, options)
        model = libs.package.ExLlamaV2(config)
        cache = getattr(libs.package, _CACHES[options.kv_cache])(model, max_seq_len=config.max_seq_len, lazy=True)
        model.load_autosplit(cache, reserve_vram=options.reserve_mib * _MIB, callback=progress)
        tokenizer = libs.package.ExLlamaV2Tokenizer(config)
        generator = _generator(libs.generator, model, cache, tokenizer, options)
        report(LoadProgress("warming"))
        if cancel.is_set():
            raise Cancelled
        generator.warmup()
        vocabulary = Vocabulary(tokenizer, folder.names)
        template = choose_template(folder.template, vocabulary)
        notes = (*context_notes(options.context, folder.trained_context), template.note)
        return OpenModel(
            libs,
            folder,
            model,
            generator,
            vocabulary,
            template,
            config.max_seq_len,
            _ends(folder, tokenizer, vocabulary),
            _device(libs.torch),
            tuple(filter(None, notes)),
        )
    except BaseException as error:
        if model is not None:
            model.unload()
        model = cache = tokenizer = generator = None
        _let_go(error)
        give_back(libs)
        if stopped:
            raise stopped[0] from error
        if isinstance(error, (Cancelled, BackendError)) or not isinstance(error, Exception):
            raise
        raise load_failure(error, str(folder.path)) from error


def _first_note() -> str:
    try:
        compiles = must_compile()
    except Exception:  # noqa: BLE001 - what is missing is told by the import that follows
        return ""
    return "ExLlamaV2 compiles its kernels, this first time only: it takes some minutes" if compiles else ""


def _config(package: Any, folder: ModelFolder, options: ExLlamaV2Options) -> Any:
    """Return the engine's configuration of a folder: nothing larger than what is used, since all of it takes VRAM."""
    config = package.ExLlamaV2Config(str(folder.path))
    config.max_seq_len = round_context(options.context)
    config.max_batch_size = 1
    config.max_input_len = min(options.slice, config.max_seq_len)
    config.max_output_len = _OUTPUTS
    config.arch_compat_overrides(quiet=True)
    return config


def _generator(module: Any, model: Any, cache: Any, tokenizer: Any, options: ExLlamaV2Options) -> Any:
    """Return the generator, with paged attention where it can be had. Raises BadOptions if the preset insists on it."""
    if options.paged is not False:
        try:
            return _made(module, model, cache, tokenizer, paged=True)
        except AssertionError as error:
            if options.paged is True:
                hint = 'Install flash-attn, or write paged = "auto" in the preset.'
                raise BadOptions("Paged attention is not to be had here", str(error)[:500], hint) from error
    return _made(module, model, cache, tokenizer, paged=False)


def _made(module: Any, model: Any, cache: Any, tokenizer: Any, *, paged: bool) -> Any:
    return module.ExLlamaV2DynamicGenerator(
        model=model,
        cache=cache,
        tokenizer=tokenizer,
        max_batch_size=1,
        max_chunk_size=model.config.max_input_len,
        max_sampling_threads=1,
        filter_background_eval=False,
        paged=paged,
    )


def _ends(folder: ModelFolder, tokenizer: Any, vocabulary: Vocabulary) -> frozenset[int]:
    named = (vocabulary.tokenize(name) for name in _ENDS if name in folder.names)
    own = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
    return frozenset([*folder.ends, *own, *(tokens[0] for tokens in named if len(tokens) == 1)])


def _device(torch: Any) -> str:
    count = torch.cuda.device_count()
    name = str(torch.cuda.get_device_name(0))
    return name if count == 1 else f"{name} and {count - 1} more"


def _let_go(error: BaseException | None) -> None:
    """Clear what the calls that failed still refer to, the cache among them."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def give_back(libs: Libraries) -> None:
    """Give the cards what nobody refers to any more: PyTorch keeps it otherwise."""
    gc.collect()
    libs.torch.cuda.empty_cache()
