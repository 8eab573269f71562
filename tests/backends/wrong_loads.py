"""Backends that break a promise of the class or of loading. Importing this registers them in `WRONG`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from backends.base import Availability, Cancel, Cancelled, ChatRequest, Loaded
from backends.echo import EchoOptions
from backends.errors import BackendError, BadModelFile, Busy, ModelNotFound
from backends.events import LoadProgress
from tests.backends.wrong_backends import HELD, Events, RightBackend, breaks, has

Report = Callable[[LoadProgress], None]

NAMED = "it_has_a_name_a_title_and_can_be_made_without_arguments"
OPTIONS = "its_options_are_a_frozen_struct_that_refuses_unknown_keys"
DEFAULTS = "options_have_defaults_or_the_missing_key_is_named"
SENT = "options_are_the_same_after_they_were_sent_and_can_be_described"
CHECK = "check_says_within_its_bound_whether_it_can_work_here"
CHECK_ANY = "check_never_raises_whatever_the_options_name"
LOAD = "a_model_is_loaded_with_progress_and_described"
BROKEN = "what_cannot_be_loaded_is_a_typed_error"
MISSING = "a_model_that_is_not_there_is_model_not_found"
AFTER_FAILURE = "after_a_failed_load_another_model_can_be_loaded"
UNLOAD_TWICE = "unload_without_a_model_and_unload_again_are_harmless"
UNLOADED = "after_unload_a_question_is_a_typed_error"
AGAIN = "an_unloaded_model_can_be_loaded_again"
MEMORY = "unload_gives_the_memory_back"
NO_LOAD = "a_load_that_was_stopped_before_it_began_is_cancelled"
FIRST_REPORT = "a_load_that_is_stopped_at_its_first_report_is_cancelled"
SLOW_LOAD = "a_running_load_ends_soon_after_it_was_stopped"

has(NAMED, "has a name of two words", name="My Engine")
has(NAMED, "has no title", title="")
has(NAMED, "needs an argument", __init__=lambda self, wanted: None)


class Loose(EchoOptions, frozen=True):
    """Takes any key."""


class Changing(msgspec.Struct, forbid_unknown_fields=True):
    text: str = ""


class NoGoodDefault(EchoOptions, frozen=True, forbid_unknown_fields=True):
    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("say something")


class NotPlain(EchoOptions, frozen=True, forbid_unknown_fields=True):
    where: complex = 0j


class OtherWhenSent(EchoOptions, frozen=True, forbid_unknown_fields=True):
    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "text", self.text + "!")


has(OPTIONS, "takes any key", Options=msgspec.defstruct("Loose", [("text", str, "")], frozen=True))
has(OPTIONS, "can be changed", Options=Changing)
has(DEFAULTS, "refuses its own defaults", Options=NoGoodDefault)
has(SENT, "has an option that is no plain value", Options=NotPlain)
has(SENT, "has options that change on the way", Options=OtherWhenSent)


def checking(answer: Callable[[Any], Any]) -> classmethod[Any, Any, Any]:
    return classmethod(lambda cls, options=None: answer(options))


def slow_check(_options: Any) -> Availability:
    time.sleep(0.3)
    return Availability(ready=True)


def picky_check(options: Any) -> Availability:
    if options is not None and options.fail:
        raise BackendError("No", "", "No.")
    return Availability(ready=True)


has(CHECK, "takes long", check=checking(slow_check))
has(
    CHECK, "is not ready", check=checking(lambda _options: Availability(False, detail="It is off.", hint="Turn it on."))
)
has(CHECK, "is not ready and does not say why", check=checking(lambda _options: Availability(False)))
has(CHECK, "can what nobody knows", check=checking(lambda _options: Availability(True, capabilities=("fly",))))
has(CHECK, "says yes", check=checking(lambda _options: True))
has(CHECK_ANY, "raises", check=checking(picky_check))
has(CHECK_ANY, "takes long", check=checking(slow_check))


class Loading(RightBackend):
    """Loads, with its reports and its description changed."""

    def changed(self, loaded: Loaded) -> Loaded:
        return loaded

    def told(self, report: LoadProgress) -> Iterable[LoadProgress]:
        return [report]

    def load(self, model: str, options: EchoOptions, report: Report, cancel: Cancel) -> Loaded:
        def tell(progress: LoadProgress) -> None:
            for told in self.told(progress):
                report(told)

        return self.changed(super().load(model, options, tell, cancel))


def describing(promise: str, what: str, **values: Any) -> None:
    breaks(promise, what)(type("Describing", (Loading,), {"changed": lambda _self, loaded: replace(loaded, **values)}))


describing(LOAD, "has a context of 0", context=0)
describing(LOAD, "has more layers on the GPU than layers", layers=4, gpu_layers=5)
describing(LOAD, "loads in less than no time", load_s=-1.0)
describing(LOAD, "notes nothing", notes=("",))
describing(LOAD, "can what nobody knows", capabilities=("fly",))
breaks(LOAD, "reports nothing")(type("Silent", (Loading,), {"told": lambda _self, _report: []}))
breaks(LOAD, "is loaded to 150 %")(type("Much", (Loading,), {"told": lambda _s, r: [replace(r, fraction=1.5)]}))
breaks(LOAD, "goes back")(
    type("Back", (Loading,), {"told": lambda _s, r: [replace(r, fraction=f) for f in (0.5, 0.2)]})
)


class Raising(RightBackend):
    """Raises `other` in place of what a failed load raises."""

    other: BaseException = RuntimeError("CUDA error 700")

    def load(self, model: str, options: EchoOptions, report: Report, cancel: Cancel) -> Loaded:
        try:
            return super().load(model, options, report, cancel)
        except BackendError:
            raise self.other from None


breaks(BROKEN, "raises what nobody expects")(Raising)
for what, error in {
    "raises another error": BadModelFile("It is no model", "x", "Mend it."),
    "is cancelled by nobody": Cancelled(),
}.items():
    breaks(BROKEN, what)(type("RaisingOther", (Raising,), {"other": error}))
breaks(MISSING, "calls it a bad file")(type("BadFile", (Raising,), {"other": BadModelFile("Bad", "x", "Mend it.")}))
breaks(MISSING, "does not say what to do")(type("NoHint", (Raising,), {"other": ModelNotFound("Not there", "x")}))


@breaks(BROKEN, "loads anything")
class Careless(RightBackend):
    def load(self, model: str, options: EchoOptions, report: Report, cancel: Cancel) -> Loaded:
        return super().load(model, replace(options, fail=""), report, cancel)


@breaks(AFTER_FAILURE, "never recovers")
@breaks(AGAIN, "loads once")
@breaks(NO_LOAD, "never recovers")
@breaks(FIRST_REPORT, "never recovers")
class Once(RightBackend):
    tried = False

    def load(self, model: str, options: EchoOptions, report: Report, cancel: Cancel) -> Loaded:
        if self.tried:
            raise Busy("The card is still in use", "x", "Wait.")
        self.tried = True
        return super().load(model, options, report, cancel)


@breaks(UNLOAD_TWICE, "fails without a model")
class Strict(RightBackend):
    def unload(self) -> None:
        if not self._ready:
            raise AttributeError("'NoneType' object has no attribute 'close'")
        super().unload()


has(UNLOADED, "answers all the same", unload=lambda _self: None)


@breaks(UNLOADED, "fails by accident")
class Bare(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        if not self._ready:
            raise AttributeError("'NoneType' object has no attribute 'generate'")
        yield from super().chat(request, cancel)


@breaks(MEMORY, "keeps half of it")
class Leaking(RightBackend):
    def unload(self) -> None:
        HELD["bytes"] += 500_000 if self._ready else 0
        super().unload()


@breaks(NO_LOAD, "does not look")
@breaks(FIRST_REPORT, "does not look")
@breaks(SLOW_LOAD, "does not look")
class DeafLoad(RightBackend):
    def load(self, model: str, options: EchoOptions, report: Report, cancel: Cancel) -> Loaded:
        return super().load(model, options, report, Cancel())


@breaks(SLOW_LOAD, "looks when it is done")
@breaks(SLOW_LOAD, "takes its time", patience_s=10.0)
class LateLoad(RightBackend):
    def load(self, model: str, options: EchoOptions, report: Report, cancel: Cancel) -> Loaded:
        loaded = super().load(model, replace(options, load_s=1.0), report, Cancel())
        if cancel.is_set():
            raise Cancelled
        return loaded
