"""`presets new`, `copy`, `set`, `use` and `remove`: the user's own presets, without opening an editor."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from typing import Any

import msgspec

from backends.errors import Problem
from backends.gguf.shape import Shape
from backends.shown import printable, shown_path
from presets import writing
from presets.catalog import BUILTIN, find, load_catalog
from presets.drafting import Draft, draft, source_of, source_text, text_of
from presets.found import Found, Search, choose, find_models, is_model, match
from presets.problems import PresetError
from presets.schema import SLOTS, PresetEntry, source_for
from presets.sources import HuggingFace, locate, parse
from presets.toml_lines import Key
from tui.commands import confirm, output, parser
from tui.settings import model_folders
from tui.units import memory

_RUNS = "llama_cpp"
_SHOWN = 30


class WrittenRow(msgspec.Struct, frozen=True):
    """What became of a preset file. `ready` says whether its model is here, None where only a server knows."""

    name: str
    file: str
    new: bool
    ready: bool | None


def configure(actions: argparse._SubParsersAction[Any]) -> None:
    """Add the actions that change presets."""
    new = actions.add_parser("new", help="write a preset for a model", allow_abbrev=False)
    new.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="a .gguf file, a folder, hf:OWNER/REPO/FILE, the address of a file at Hugging Face, ollama:TAG, or a "
        "model that `deepseek-tui models` lists; without it these are listed",
    )
    new.add_argument("--name", help="the preset's name, by default after the model's")
    new.add_argument("--title", help="what the screen calls it")
    new.add_argument("--context", type=int, metavar="N", help="tokens")
    new.add_argument(
        "--slot",
        type=int,
        choices=range(1, SLOTS + 1),
        metavar="N",
        help="its key: 1 is F2, 2 is F3 … 6 is F7 by default",
    )
    new.add_argument("--print", action="store_true", dest="only_print", help="print the file instead of writing it")
    new.add_argument("--no-fetch", action="store_true", help="do not read the header of a model that is not here")
    confirm.add_yes(new, "ask nothing")
    copy = actions.add_parser("copy", help="write a copy of a preset under another name", allow_abbrev=False)
    _named(copy)
    copy.add_argument("new_name", metavar="NEW")
    copy.add_argument("--title", help="what the screen calls it")
    setting = actions.add_parser("set", help="change settings of a preset in your own file", allow_abbrev=False)
    _named(setting)
    setting.add_argument("values", nargs="*", metavar="KEY=VALUE", help="such as context=16384, sampling.top_p=0.9")
    setting.add_argument("--unset", action="append", default=[], metavar="KEY", help="take a setting out of the file")
    setting.set_defaults(usage_error=setting.error)
    use = actions.add_parser("use", help="let a preset use a model that is here already", allow_abbrev=False)
    _named(use)
    use.add_argument("model", nargs="?", metavar="FILE|MODEL", help="without it, the one that is found")
    use.add_argument("--anyway", action="store_true", help="also another model than the preset names")
    remove = actions.add_parser("remove", help="delete a preset of your own", allow_abbrev=False)
    _named(remove)
    confirm.add_yes(remove, "do not ask")
    for action in (new, copy, setting, use, remove):
        parser.add_json(action, argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Do one of them; return the exit status. Raises Problem."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "new": _new, "copy": _copy, "set": _set, "use": _use, "remove": _remove,
    }  # fmt: skip
    return actions[arguments.action](arguments)


ACTIONS = ("new", "copy", "set", "use", "remove")


def _new(arguments: argparse.Namespace) -> int:
    asks = confirm.somebody() and not arguments.yes and not arguments.only_print
    source = arguments.source
    found = _search() if source is None or _may_be_found(source) else Search(())
    if source is None:
        if not asks:
            arguments.usage_error("a SOURCE is needed where nobody can be asked")
        source = _chosen(found)
    fetch = None if arguments.no_fetch else _fetched
    drafted = draft(source_text(source, found.found), found.found, fetch)
    drafted = _with_wishes(drafted, arguments, asks=asks)
    text = text_of(drafted)
    if arguments.only_print:
        output.say(text.rstrip("\n"))
        return output.DONE
    writing.check_name(drafted.name)
    entry = writing.create(drafted.name, text)
    return _told(entry, new=True, as_json=arguments.json)


def _with_wishes(drafted: Draft, arguments: argparse.Namespace, *, asks: bool) -> Draft:
    """Put what the user said into a draft, and ask for the little that is a matter of taste."""
    name = arguments.name or writing.free_name(drafted.name, {entry.name for entry in load_catalog().entries})
    title = arguments.title or drafted.title
    if asks and not arguments.name:
        name = confirm.answer(f"Name of the preset [{name}]:", name)
    if asks and not arguments.title:
        title = confirm.answer(f"Title on the screen [{printable(title)}]:", title)
    context = arguments.context or drafted.context
    return msgspec.structs.replace(drafted, name=name, title=title, context=context, slot=arguments.slot)


def _copy(arguments: argparse.Namespace) -> int:
    entry = find(load_catalog(), arguments.name)
    name = writing.check_name(arguments.new_name)
    return _told(writing.create(name, writing.copied(entry, arguments.title or "")), new=True, as_json=arguments.json)


def _set(arguments: argparse.Namespace) -> int:
    texts: dict[Key, str] = {}
    for wish in arguments.values:
        key, equals, value = wish.partition("=")
        if not equals:
            arguments.usage_error(f"{printable(wish)}: write it as KEY=VALUE")
        texts[_key(key)] = value
    dropped = [_key(key) for key in arguments.unset]
    if not texts and not dropped:
        arguments.usage_error("say what to change: KEY=VALUE, or --unset KEY")
    catalog = load_catalog()
    values: dict[Key, Any] = {key: _value(text) for key, text in texts.items()}
    refused: dict[Key, PresetError] = {}
    while True:
        try:
            entry, new = writing.change(catalog, arguments.name, values, dropped)
        except PresetError as problem:
            # 14 may be meant as the text "14". Where that is wrong too, what was wrong with the number is said.
            if problem.path not in texts or values[problem.path] == texts[problem.path]:
                raise refused.get(problem.path, problem) from None
            refused[problem.path] = problem
            values[problem.path] = texts[problem.path]
        else:
            return _told(entry, new=new, as_json=arguments.json)


def _use(arguments: argparse.Namespace) -> int:
    catalog = load_catalog()
    entry = find(catalog, arguments.name)
    model = entry.preset.model
    search = _search()
    if arguments.model is None:
        one = match(entry, search.found)
        if one is None:
            hint = "Name a file to use it anyway, or fetch the model."
            raise Problem(f"{model.family} {model.quantization} was not found on this machine", "", hint)
    else:
        one = choose(arguments.model, search.found) or _of_path(arguments.model)
    _check_same(entry, one, arguments.anyway)
    entry, new = writing.change(catalog, entry.name, {("backends", _RUNS, "source"): source_of(one)})
    return _told(entry, new=new, as_json=arguments.json)


def _of_path(text: str) -> Found:
    """Return a file that no program is known to keep. Raises SourceError, BadModelFile, ModelNotFound."""
    from backends.gguf.files import read_shape

    source = parse(source_text(text))
    located = locate(source)
    if not located.present or located.path is None:
        raise Problem("There is no model", located.detail, located.hint)
    shape = read_shape(located.path)
    return Found(
        "folder",
        located.path.name,
        located.path,
        shape.file_bytes or 0,
        shape.name,
        shape.architecture,
        shape.layers,
        shape.hidden,
        shape.quantization,
    )


def _check_same(entry: PresetEntry, one: Found, anyway: bool) -> None:
    """Raise Problem for another model than the preset's, unless that is wanted."""
    model = entry.preset.model
    if one.problem:
        raise Problem("This file cannot be run", one.problem, "Fetch it again.")
    if anyway or is_model(one, model.family, model.quantization) or match(entry, [one]) is not None:
        return
    what = f"{one.family or 'a model without a name'} {one.quantization}".strip()
    raise Problem(
        f"This is another model than {printable(entry.name)} names",
        f"{one.name} is {what}, and the preset wants {printable(model.family)} {printable(model.quantization)}.",
        "A preset of its own is better: deepseek-tui presets new FILE. --anyway uses it here.",
    )


def _remove(arguments: argparse.Namespace) -> int:
    catalog = load_catalog()
    name = arguments.name
    shown = printable(name)
    hides = (BUILTIN / f"{name}.toml").exists() if "/" not in name else False
    after = " The built-in of this name is used again then." if hides else ""
    # First, so that nobody is asked about what cannot be done.
    writing.check_removable(catalog, name)
    if not confirm.sure(f"Delete the preset {shown}?{after} Its model stays.", arguments):
        output.warn("Nothing was deleted.")
        return output.STOPPED
    path = writing.remove(catalog, name)
    if arguments.json:
        output.say_json({"removed": name, "file": output.path_text(path)})
    else:
        output.say(f"Deleted: {shown_path(path)}.{after.replace(' is used again then', ' is back')}")
    return output.DONE


def _told(entry: PresetEntry, *, new: bool, as_json: bool) -> int:
    source = parse(source_for(entry.preset, entry.preset.backend, name=entry.name))
    located = locate(source)
    if as_json:
        output.say_json(WrittenRow(entry.name, output.path_text(entry.file), new, located.present))
        return output.DONE
    output.say(f"{'Written' if new else 'Changed'}: {shown_path(entry.file)}")
    for note in entry.notes:
        output.say(f"note: {note}")
    if located.present is False and isinstance(source, HuggingFace):
        output.say(f"Its model is not here yet: deepseek-tui pull {entry.name} fetches it.")
    elif located.present is False:
        output.say(f"Its model is not here ({located.detail}): deepseek-tui presets show {entry.name} says what to do.")
    else:
        output.say(f"deepseek-tui plan {entry.name} says what fits; deepseek-tui -p {entry.name} opens it.")
    return output.DONE


def _chosen(search: Search) -> str:
    """Ask for one of the models that were found. Raises Problem."""
    usable = [one for one in search.found if not one.problem]
    for number, one in enumerate(usable[:_SHOWN], 1):
        output.warn(f"{number:>3}  {one.place:<13} {memory(one.size):>8}  {one.name}")
    if len(usable) > _SHOWN:
        output.warn(f"     and {len(usable) - _SHOWN} more: deepseek-tui models")
    for trouble in search.troubles:
        output.warn(trouble)
    text = confirm.answer("Which model? A number, a file, hf:OWNER/REPO/FILE or ollama:TAG:", "")
    if text.isascii() and text.isdigit() and 0 < int(text) <= len(usable):
        return source_of(usable[int(text) - 1])
    if not text:
        raise Problem("No model was named", "", "deepseek-tui presets new SOURCE")
    return text


def _may_be_found(source: str) -> bool:
    return not source.startswith(("hf:", "file:", "package:", "server:", "http", "/", "./", "../", "~"))


def _search() -> Search:
    return find_models(model_folders())


def _fetched(source: HuggingFace) -> Shape:
    from presets.shapes import fetch_shape

    return fetch_shape(source).shape


def _key(text: str) -> Key:
    return tuple(part for part in text.strip().split("."))


def _value(text: str) -> Any:
    """Return what a value means in TOML, and what is no TOML as text."""
    try:
        return tomllib.loads(f"v = {text}")["v"] if "\n" not in text else text
    except (ValueError, RecursionError):
        return text


def _named(action: argparse.ArgumentParser) -> None:
    named = action.add_argument("name", metavar="NAME")
    named.complete = parser.PRESET_COMPLETION  # type: ignore[attr-defined]  # shtab reads it
