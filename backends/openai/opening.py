"""Find out what a server is: its flavour, whether it has the model, how large the context is, what it can do."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable
from typing import Any

import msgspec

from backends.base import Cancel, Cancelled, Loaded
from backends.errors import BackendError, ModelNotFound, ServerError
from backends.events import LoadProgress
from backends.openai.connection import Connection, decoded
from backends.openai.dialect import garbage
from backends.openai.flavours import FLAVOURS, Flavour, recognised
from backends.openai.options import OpenAIOptions
from backends.price import Price

_LOOK_S = 0.5
_LOADING = "loading"


class Opened(msgspec.Struct, frozen=True):
    """A model that can be asked, and how: with this flavour, under this name."""

    model: str
    flavour: Flavour
    loaded: Loaded
    extra_body: dict[str, Any]
    price: Price | None = None


class _Listed(msgspec.Struct):
    """A server's list of models, each as it comes: every kind of server puts other things in.

    None is a list without an entry. One without `data` is none: some servers answer "ok" at any address.
    """

    data: list[dict[str, Any]] | None


def open_model(
    connection: Connection,
    model: str,
    options: OpenAIOptions,
    report: Callable[[LoadProgress], None],
    cancel: Cancel,
) -> Opened:
    """Look at a server and its model. Raises Cancelled, ModelNotFound, BackendError."""
    started = time.monotonic()
    listed = _listed(connection, report, cancel)
    entry = _entry(listed, model, connection.server)
    owners = {str(one.get("owned_by", "")) for one in listed}
    flavour = FLAVOURS[recognised(options.flavour, connection.host, owners)]
    told, trained = _contexts(connection, flavour, entry, cancel)
    context = min(options.context, told) if options.context and told else options.context or told
    notes = []
    if options.context and told and told < options.context:
        notes.append(f"The context is {told:,} tokens instead of {options.context:,}: the server has no more.")
    if context is None:
        notes.append("The server does not tell how large its context is; `context` in the preset would.")
    version = _version(connection, flavour, cancel)
    loaded = Loaded(
        context=context,
        trained_context=trained,
        load_s=time.monotonic() - started,
        device=f"{flavour.title} {version} at {connection.server}".replace("  ", " "),
        notes=tuple(notes),
        capabilities=capabilities(flavour),
        place=connection.place,
    )
    return Opened(str(entry.get("id", model)), flavour, loaded, options.extra_body, options.price)


def capabilities(flavour: Flavour) -> tuple[str, ...]:
    """Return what can be done with a model behind such a server."""
    words = [] if flavour is FLAVOURS["plain"] else ["prefix_reuse"]
    if flavour.seed:
        words.append("seed")
    if flavour.counting:
        words.append("exact_tokens")
    if flavour.continuation:
        words += ["continue", "answer_now"]
    return tuple(words)


def _listed(connection: Connection, report: Callable[[LoadProgress], None], cancel: Cancel) -> list[dict[str, Any]]:
    """Return the models that a server lists; wait for one that is still loading."""
    started = time.monotonic()
    report(LoadProgress("reading", None, f"asking {connection.server}"))
    while True:
        if cancel.is_set():
            raise Cancelled
        try:
            body = connection.find_base()
        except ServerError as error:
            if _LOADING not in error.detail.lower():
                raise
            waited = time.monotonic() - started
            report(LoadProgress("reading", None, f"{connection.server} is loading its model: {waited:.0f} s"))
            cancel.wait(_LOOK_S)
        else:
            break
    try:
        return msgspec.json.decode(body, type=_Listed).data or []
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise garbage(body, connection.server) from error


def _entry(listed: list[dict[str, Any]], model: str, server: str) -> dict[str, Any]:
    """Return what the list says of a model. Raises ModelNotFound."""
    names = [str(one.get("id", "")) for one in listed]
    for name, one in zip(names, listed, strict=True):
        if name == model:
            return one
    # A server of a single file may list its path.
    same = [one for name, one in zip(names, listed, strict=True) if name.rpartition("/")[2] == model]
    if len(same) == 1:
        return same[0]
    if not listed:
        return {"id": model}
    near = difflib.get_close_matches(model, names, 3, 0.4) or names[:5]
    raise ModelNotFound(
        f"{server} has no model called {model}",
        f"It has: {', '.join(near)}.",
        f'Write source = "server:{near[0]}" in the preset.',
    )


def _contexts(
    connection: Connection, flavour: Flavour, entry: dict[str, Any], cancel: Cancel
) -> tuple[int | None, int | None]:
    """Return the context that a server gives, and the one that its model was trained for. Raises Cancelled."""
    meta = entry.get("meta")
    trained = _count(meta.get("n_ctx_train")) if isinstance(meta, dict) else None
    told = _count(entry.get("max_model_len")) or _count(entry.get("context_length"))
    if flavour is FLAVOURS["llama_server"]:
        told = _count(_within(_beside(connection, "/props", cancel), "default_generation_settings", "n_ctx"))
    elif flavour is FLAVOURS["tabby"]:
        told = _count(_within(_beside(connection, "/v1/model", cancel), "parameters", "max_seq_len"))
    elif flavour is FLAVOURS["lm_studio"]:
        found = _within(_beside(connection, "/api/v0/models", cancel), "data")
        for one in found if isinstance(found, list) else ():
            if isinstance(one, dict) and one.get("id") == entry.get("id"):
                told = _count(one.get("loaded_context_length"))
                trained = _count(one.get("max_context_length"))
    return told, trained


def _version(connection: Connection, flavour: Flavour, cancel: Cancel) -> str:
    """Return what a server calls its version, "" where it does not say. Raises Cancelled."""
    if flavour is FLAVOURS["vllm"]:
        return str(_within(_beside(connection, "/version", cancel), "version") or "")[:40]
    if flavour is FLAVOURS["llama_server"]:
        return str(_within(_beside(connection, "/props", cancel), "build_info") or "")[:40]
    return ""


def _beside(connection: Connection, path: str, cancel: Cancel) -> Any:
    """Return what a server says beside the protocol's own part, None where it says nothing. Raises Cancelled."""
    if cancel.is_set():
        raise Cancelled
    try:
        return decoded(connection.get(path, beside=True), connection.server)
    except BackendError as error:
        if cancel.is_set():
            raise Cancelled from error
        return None


def _within(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _count(value: Any) -> int | None:
    """Return a positive whole number, None for anything else: 0 and nonsense mean unknown here."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
