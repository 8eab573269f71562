"""The recipes that there are, with what is wrong in those that cannot be used."""

from __future__ import annotations

import msgspec

from presets.recipes import load_recipes
from tui.commands import output, table


def listed(*, as_json: bool, names: bool) -> int:
    """List the recipes, as a table, as JSON, or by their names alone; return the exit status."""
    recipes = load_recipes()
    if names:
        for entry in recipes.entries:
            output.say(entry.mix.name)
        return output.DONE
    if as_json:
        found = [
            {"builtin": entry.builtin, "file": output.path_text(entry.path), **msgspec.to_builtins(entry.mix)}
            for entry in recipes.entries
        ]
        problems = [{"title": one.title, "detail": one.detail, "hint": one.hint} for one in recipes.problems]
        output.say_json({"recipes": found, "problems": problems})
        return output.DONE
    rows = [(entry.mix.name, "" if entry.builtin else "your own", entry.mix.title) for entry in recipes.entries]
    for line in table.table(("RECIPE", "", "WHAT IT DOES"), rows, table.width()):
        output.say(line)
    for entry in recipes.entries:
        if entry.mix.description:
            output.say(f"{entry.mix.name}: {entry.mix.description}")
    output.say("The plain ones of llama.cpp are recipes too, such as Q3_K_S, IQ3_M and Q4_K_M.")
    for problem in recipes.problems:
        output.say(f"problem: {problem.title}")
        for line in (problem.detail, problem.hint):
            if line:
                output.say(f"    {line}")
    return output.DONE
