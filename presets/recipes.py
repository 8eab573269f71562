"""Recipes for mixed quantisations: those that come with us, and the user's own in the config folder.

A recipe is a TOML file; `presets/recipes` holds commented examples.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from backends import paths
from backends.errors import Problem
from backends.gguf.mix_rules import ENDS, MATRICES, NEED_IMPORTANCE, TYPES, layers_in, names_matrices
from backends.gguf.mixes import Mix, Rule
from backends.gguf.recipes import RECIPES
from backends.shown import printable, shown_path
from presets.catalog import read_table
from presets.checking import checked
from presets.problems import PresetError, dotted
from presets.toml_lines import Key, key_lines, line_in_list, line_of

BUILTIN = Path(__file__).with_name("recipes")
BASES = tuple(name for name, recipe in RECIPES.items() if recipe.most not in {"f32", "f16", "bf16"})
"""The recipes of llama.cpp's that a mix may be based on."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_RULES = 100
_Text = Annotated[str, msgspec.Meta(max_length=400)]


class RecipeError(Problem):
    """A recipe that cannot be used as it stands. `key` is dotted, `line` counts from 1; "" and None: no place."""

    def __init__(
        self,
        name: str,
        what: str,
        *,
        key: str = "",
        note: str = "",
        hint: str = "",
        file: Path | None = None,
        line: int | None = None,
    ) -> None:
        self.name = name
        self.what = what
        self.key = key
        self.file = file
        self.line = line
        place = shown_path(file) if file else ""
        if place and line:
            place += f", line {line}"
        super().__init__(
            f"Recipe {printable(name)}: {what}", ": ".join(part for part in (place, key, note) if part), hint
        )


class RecipeEntry(msgspec.Struct, frozen=True):
    """A recipe with the file in which it stands."""

    mix: Mix
    path: Path
    builtin: bool


class Recipes(msgspec.Struct, frozen=True):
    """`entries` by name; `problems` are the files that could not be used."""

    entries: tuple[RecipeEntry, ...]
    problems: tuple[RecipeError, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: _Text
    base: str
    # Each is checked by itself, because a key in the second of several has a line of its own.
    rules: list[dict[str, Any]] = []
    output: str = ""
    embedding: str = ""
    description: _Text = ""


def load_recipes(folder: Path | None = None) -> Recipes:
    """Read all recipes: the built-in ones, and the user's in `folder` (default: the config folder).

    A user's recipe hides the built-in one of the same name. Never raises for what stands in a file: see `problems`.
    """
    files = {path.stem: (path, True) for path in _files(BUILTIN)}
    problems = []
    try:
        files |= {path.stem: (path, False) for path in _files(folder or paths.user_recipes())}
    except OSError as error:
        where = folder or paths.user_recipes()
        problems.append(RecipeError(where.name, "the folder cannot be read", file=where, note=error.strerror or ""))
    entries = []
    for _, (path, builtin) in sorted(files.items()):
        try:
            entries.append(RecipeEntry(read_recipe(path), path, builtin))
        except RecipeError as problem:
            problems.append(problem)
    return Recipes(tuple(entries), tuple(problems))


def find_recipe(text: str, folder: Path | None = None) -> Mix:
    """Return the recipe of this name, or the one in a file (ends in .toml, or has a / in it).

    A file type of llama.cpp such as Q4_K_M, in any case, is a recipe without rules. Raises RecipeError.
    """
    if text.endswith(".toml") or "/" in text:
        return read_recipe(Path(text).expanduser())
    found = known_recipe(text, folder)
    if found is not None:
        return found
    if text.upper() in RECIPES:
        raise RecipeError(text, "it quantises nothing", hint="Choose one such as mixed-4-3 or Q4_K_M.")
    recipes = load_recipes(folder)
    for problem in recipes.problems:
        if problem.name == text:
            raise problem
    names = [entry.mix.name for entry in recipes.entries]
    near = difflib.get_close_matches(text.casefold(), names, 2, 0.5)
    near = near or difflib.get_close_matches(text.upper(), BASES, 2)
    there = f"There are: {', '.join(names)}; and llama.cpp's own, such as Q4_K_M."
    hint = f"Did you mean {' or '.join(near)}?" if near else there
    raise RecipeError(text, "there is none of this name", hint=hint)


def known_recipe(name: str, folder: Path | None = None) -> Mix | None:
    """Return the recipe of this name, None if there is none or it cannot be used. Quick: one file at most is read."""
    if _NAME.fullmatch(name) is None:
        return None
    plain = name.upper()
    if plain in BASES:
        return Mix(plain, f"llama.cpp's own {plain}", plain, ())
    for place in (folder or paths.user_recipes(), BUILTIN):
        path = place / f"{name}.toml"
        try:
            if path.is_file():
                return read_recipe(path)
        except (OSError, RecipeError):
            return None
    return None


def read_recipe(path: Path) -> Mix:
    """Read one recipe, wherever its file lies, and check everything in it. Raises RecipeError."""
    name = path.stem
    if _NAME.fullmatch(name) is None or name.upper() in RECIPES:
        note = "this is the name of a recipe of llama.cpp's" if name.upper() in RECIPES else ""
        hint = "Name the file with up to 64 letters, digits, dots, - and _."
        raise RecipeError(name, "its file has a name that cannot be used", file=path, note=note, hint=hint)
    try:
        text, table = read_table(path)
    except PresetError as problem:
        note, hint = (text.replace("preset", "recipe") for text in (problem.note, problem.hint))
        raise RecipeError(name, problem.what, note=note, hint=hint, file=path, line=problem.line) from problem
    try:
        return _mix(name, table)
    except PresetError as problem:
        raise RecipeError(
            name,
            problem.what,
            key=_key(problem.path),
            note=problem.note,
            hint=re.sub(r"\brules\.\d+\.", "rules.", problem.hint),
            file=path,
            line=_line(text, problem.path),
        ) from problem


def _mix(name: str, table: dict[str, Any]) -> Mix:
    """Return a table as a recipe. Raises PresetError, without file and line."""
    file = checked(name, table, _File)
    _check_word(name, ("base",), file.base, BASES)
    for key, kind in (("output", file.output), ("embedding", file.embedding)):
        if kind:
            _check_word(name, (key,), kind, tuple(one for one in TYPES if one not in NEED_IMPORTANCE))
    if len(file.rules) > _MAX_RULES:
        raise PresetError(name, "too many rules", path=("rules",), note=f"{_MAX_RULES} are the most")
    rules = tuple(_rule(name, number, rule) for number, rule in enumerate(file.rules))
    return Mix(name, file.title, file.base, rules, file.output, file.embedding, file.description)


def _rule(name: str, number: int, table: dict[str, Any]) -> Rule:
    at = ("rules", str(number))
    rule = checked(name, table, Rule, at)
    _check_word(name, (*at, "type"), rule.type, TYPES)
    if not rule.tensors:
        raise PresetError(name, "wrong value", path=(*at, "tensors"), note="it names no tensor")
    for pattern in rule.tensors:
        _check_pattern(name, (*at, "tensors"), pattern)
    try:
        layers_in(rule.layers, 1)
    except ValueError as error:
        note = f"found {printable(rule.layers) or 'nothing'}: {error}"
        raise PresetError(name, "wrong value", path=(*at, "layers"), note=note) from error
    return rule


def _check_pattern(name: str, path: Key, pattern: str) -> None:
    """Refuse a pattern that names no matrix. Raises PresetError."""
    if names_matrices(pattern):
        return
    plain = pattern.removeprefix("blk.*.").removesuffix(".weight")
    near = difflib.get_close_matches(plain, (*MATRICES, *ENDS), 1)
    if plain in ENDS:
        hint = f'Write {ENDS[plain]} = "…" before the rules: they are for the layers.'
    elif plain != pattern and names_matrices(plain):
        hint = f"Write {plain}: without the layer and without .weight."
    else:
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(MATRICES)}; * and ? stand for others."
    raise PresetError(
        name, "wrong value", path=path, note=f"{printable(pattern)} names no matrix of a layer", hint=hint
    )


def _check_word(name: str, path: Key, word: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is none of those allowed. Raises PresetError."""
    if word in allowed:
        return
    plain = {one.casefold(): one for one in allowed}
    near = difflib.get_close_matches(word.casefold(), plain, 1)
    hint = f"Did you mean {plain[near[0]]}?" if near else f"Choose one of: {', '.join(allowed)}."
    note = f"found {printable(word) or 'nothing'}"
    if path[-1] in ENDS.values() and word in NEED_IMPORTANCE:
        note, hint = f"{word} needs an importance that is not measured for it", f"Choose one of: {', '.join(allowed)}."
    raise PresetError(name, "wrong value", path=path, note=note, hint=hint)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the recipes of a folder, none if there is no such folder. Raises OSError."""
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        return
    yield from (path for path in found if path.suffix == ".toml" and not path.name.startswith("."))


def _key(path: Key) -> str:
    if len(path) >= 2 and path[0] == "rules":
        return dotted(("rules", *path[2:])) + f" (rule {int(path[1]) + 1})"
    return dotted(path)


def _line(text: str, path: Key) -> int | None:
    if len(path) >= 2 and path[0] == "rules":
        return line_in_list(text, path)
    return line_of(key_lines(text), path)
