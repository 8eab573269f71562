"""The stand-in for exllamav2 has the surface of the true package: its names, arguments and sampler settings.

The true one is only read, never imported, so it needs no card: `pip install --no-deps exllamav2`.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from tests.backends.exllamav2_world import FAKE

_CLASSES = {
    "ExLlamaV2Config": "config.py",
    "ExLlamaV2": "model.py",
    "ExLlamaV2Cache": "cache.py",
    "ExLlamaV2Cache_Q4": "cache.py",
    "ExLlamaV2Cache_Q6": "cache.py",
    "ExLlamaV2Cache_Q8": "cache.py",
    "ExLlamaV2Tokenizer": "tokenizer/tokenizer.py",
    "ExLlamaV2DynamicGenerator": "generator/dynamic.py",
    "ExLlamaV2DynamicJob": "generator/dynamic.py",
    "ExLlamaV2Sampler": "generator/sampler.py",
}
_OUR_OWN = {"text", "piece"}  # what the stand-in's generator asks of its tokenizer


def true_package() -> Path:
    spec = importlib.util.find_spec("exllamav2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("exllamav2 is not installed: pip install --no-deps exllamav2")
    return Path(spec.submodule_search_locations[0])


def classes(*files: Path) -> dict[str, ast.ClassDef]:
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def arguments(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args if argument.arg != "self"]


def public(node: ast.ClassDef) -> dict[str, list[str]]:
    functions = [one for one in node.body if isinstance(one, ast.FunctionDef)]
    return {one.name: arguments(one) for one in functions if not one.name.startswith("_") or one.name == "__init__"}


def fields(node: ast.ClassDef) -> list[str]:
    (settings,) = [one for one in node.body if isinstance(one, ast.ClassDef) and one.name == "Settings"]
    named = [one for one in settings.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)]
    return [one.target.id for one in named if isinstance(one.target, ast.Name)]


def test_the_stand_in_has_the_arguments_of_the_true_package() -> None:
    package = true_package()
    true = classes(*{package / file for file in _CLASSES.values()})
    ours = classes(FAKE / "exllamav2" / "__init__.py", FAKE / "exllamav2" / "generator" / "__init__.py")
    assert _CLASSES.keys() <= ours.keys() & true.keys()
    for name in _CLASSES:
        theirs = public(true[name])
        for method, taken in public(ours[name]).items():
            if method in _OUR_OWN:
                continue
            missing = set(taken) - set(theirs[method]) - {"kwargs"}
            assert not missing, f"{name}.{method} has no {missing}"


def test_the_stand_in_has_every_setting_of_the_true_sampler() -> None:
    true = classes(true_package() / "generator" / "sampler.py")["ExLlamaV2Sampler"]
    ours = classes(FAKE / "exllamav2" / "generator" / "__init__.py")["ExLlamaV2Sampler"]
    bookkeeping = {"ngram_trie", "ngram_index", "ngram_history"}
    assert set(fields(true)) - bookkeeping == set(fields(ours))


def test_the_keys_of_results_are_those_of_the_true_generator() -> None:
    def keys(file: Path) -> set[str]:
        return {
            key.value
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Dict)
            for key in node.keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }

    assert keys(FAKE / "exllamav2" / "generator" / "__init__.py") <= keys(true_package() / "generator" / "dynamic.py")
