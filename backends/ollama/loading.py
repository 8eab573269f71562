"""Have Ollama load a model, without taking it away from other programs, and tell what came of it."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from backends import holdings
from backends.base import Cancel, Cancelled, Loaded
from backends.errors import BackendError, BadModelFile
from backends.events import LoadProgress
from backends.http.client import stoppable
from backends.ollama.asking import CHAT, GENERATE, Asking
from backends.ollama.connection import Connection, Model, Running
from backends.ollama.dialect import own_stops
from backends.ollama.options import OllamaOptions, insists, runner_options
from backends.ollama.templates import Template, read_template

KEEP_ALIVE = "30m"
"""How long a model that we loaded stays after its last use: an end even if everybody dies."""
_LIMITS_SINCE = (0, 12, 6)  # the first release that knows `truncate` and `shift` in a chat
_TOLD_EVERY_S = 1.0
_LOOK_S = 0.1
_ELSEWHERE = "Ollama lists this model as loaded under another name, or not at all; it stays as long as Ollama keeps it."
_FREE_S = 3.0
_FREED_S = 5.0


class Noted(msgspec.Struct, frozen=True):
    """What a holding says: the server's base URL and the model."""

    server: str
    model: str


class Opened(msgspec.Struct, frozen=True):
    """A model that answers. `ours` says that we loaded it, so that we may unload it; `holding` is the note of that.

    `refuses` says that the server refuses a prompt that is too long; one that does not drops its beginning unasked.
    `ends_when_full` says that it ends an answer that fills the context; else it would drop old text and go on.
    """

    asking: Asking
    loaded: Loaded
    context: int
    ours: bool
    holding: holdings.Holding | None
    refuses: bool
    ends_when_full: bool


def open_model(
    connection: Connection,
    url: str,
    model: str,
    options: OllamaOptions,
    report: Callable[[LoadProgress], None],
    cancel: Cancel,
) -> Opened:
    """Load a model. Raises Cancelled, ModelNotFound, BadModelFile, OutOfMemory, BackendError."""
    started = time.monotonic()
    with stoppable(connection.shut, cancel):
        try:
            return _open(connection, url, model, options, report, cancel, started)
        except BackendError as error:
            if cancel.is_set():
                raise Cancelled from error
            raise


def _open(
    connection: Connection,
    url: str,
    model: str,
    options: OllamaOptions,
    report: Callable[[LoadProgress], None],
    cancel: Cancel,
    started: float,
) -> Opened:
    report(LoadProgress("reading", None, f"asking Ollama at {connection.server}"))
    version = connection.version()
    shown = connection.show(model)
    if shown.capabilities and "completion" not in shown.capabilities:
        words = ", ".join(shown.capabilities)
        raise BadModelFile(f"{model} cannot chat", f"Ollama says that it can do: {words}.", "Choose another model.")
    before = connection.running(model)
    wanted = min(options.context, shown.trained_context or options.context)
    kept = before is not None and (before.context or 0) >= wanted
    context = before.context if before is not None and kept and before.context else wanted
    template = read_template(shown.template)
    asking = Asking(
        model=model,
        template=template,
        thinks="thinking" in shown.capabilities,
        runner=runner_options(options, context),
        stops=own_stops(shown.parameters),
        shift=None if kept else False,
        keep_alive=KEEP_ALIVE if before is None else None,
    )
    refuses = parsed(version) >= _LIMITS_SINCE
    holding = _hold(url, model) if before is None else None
    try:
        _wait(connection, asking, report, cancel)
        if cancel.is_set():
            raise Cancelled
        after = connection.running(model)
        if after is None and holding is not None:
            # Another name of the same file was loaded before: freeing ours would take that one away.
            holding.drop()
    except BaseException:
        if before is None:
            free(connection, model, holding)
        raise
    got = after.context if after is not None and after.context else context
    notes = [
        *_context_notes(options, shown, before, got, kept),
        *([] if after is not None else [_ELSEWHERE]),
        *_template_notes(shown, template),
        *_limit_notes(version, refuses, kept),
    ]
    loaded = Loaded(
        context=got,
        trained_context=shown.trained_context,
        layers=shown.blocks,
        model_bytes=after.size if after is not None else None,
        vram_bytes=after.vram if after is not None else None,
        load_s=time.monotonic() - started,
        device=f"Ollama {version} at {connection.server}",
        notes=tuple(notes),
        capabilities=("seed", "prefix_reuse", *(("continue", "answer_now") if asking.can_continue else ())),
        place=connection.place,
    )
    return Opened(asking, loaded, got, before is None and after is not None, holding, refuses, refuses and not kept)


def free(connection: Connection, model: str, holding: holdings.Holding | None = None) -> None:
    """Have the server unload a model, see that it did, and drop the note. Takes seconds at most.

    Swallows failures: the model has an end of its own.
    """
    with contextlib.suppress(BackendError), contextlib.closing(connection.brief(_FREE_S)) as brief:
        brief.reply("POST", GENERATE, {"model": model, "keep_alive": 0, "stream": False}, model)
        deadline = time.monotonic() + _FREED_S
        while time.monotonic() < deadline and brief.running(model) is not None:
            time.sleep(_LOOK_S)
    if holding is not None:
        holding.drop()


def parsed(version: str) -> tuple[int, ...]:
    """Return a version's numbers; a build without any is taken for the newest."""
    numbers = tuple(int(number) for number in re.findall(r"\d{1,6}", version.partition("-")[0])[:3])
    return numbers if any(numbers) else (1_000_000,)


def _hold(url: str, model: str) -> holdings.Holding | None:
    """Note what we are about to load. Without a note it ends by itself after `KEEP_ALIVE`."""
    try:
        return holdings.hold("ollama", msgspec.json.encode(Noted(url, model)).decode())
    except OSError:
        return None


def _wait(connection: Connection, asking: Asking, report: Callable[[LoadProgress], None], cancel: Cancel) -> None:
    """Load, and tell each second how long it has taken: Ollama says nothing more. Raises BackendError, Cancelled."""
    failed: list[BaseException] = []

    def load() -> None:
        try:
            connection.reply("POST", CHAT, asking.load(), asking.model)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=load, name="ollama load", daemon=True)
    started = told = time.monotonic()
    report(LoadProgress("reading", None, f"Ollama loads {asking.model}"))
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_S)
        now = time.monotonic()
        if cancel.is_set():
            connection.shut()  # again, for a line that was opened meanwhile
        elif now - told >= _TOLD_EVERY_S:
            told = now
            report(LoadProgress("reading", None, f"Ollama loads {asking.model}: {now - started:.0f} s"))
    if failed:
        raise failed[0]


def _context_notes(options: OllamaOptions, shown: Model, before: Running | None, got: int, kept: bool) -> Iterator[str]:
    if before is not None and kept:
        yield f"Another program had this model loaded, with a context of {got:,}; it is shared and stays loaded."
        if insists(options):
            yield "Where its settings differ from the preset's, Ollama loads it anew for both."
    elif before is not None:
        had = f"of {before.context:,}" if before.context else "of unknown size"
        yield f"Another program had this model loaded, with a context {had}; Ollama loaded it anew for both."
    if got < options.context:
        trained = shown.trained_context is not None and got == shown.trained_context
        why = ", all that the model was trained for" if trained else ""
        yield f"The context is {got:,} tokens instead of {options.context:,}{why}."


def _template_notes(shown: Model, template: Template) -> Iterator[str]:
    if shown.has_system:
        yield "This model's Modelfile brings a system prompt or messages of its own; Ollama puts them first."
    if template.kind == "closed":
        yield "With this model's chat template Ollama cannot go on with an unfinished answer."


def _limit_notes(version: str, refuses: bool, kept: bool) -> Iterator[str]:
    if not refuses:
        yield f"Ollama {version} drops the beginning of a long conversation silently; 0.12.6 and later can refuse."
    elif kept:
        yield "As another program loaded it, where an answer must end for the context to hold it is only estimated."
