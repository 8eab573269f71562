"""The screen is there at once: what its start does not need is not loaded before it is needed."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LATER = {
    *("csv", "ctypes", "email", "gettext", "html", "http", "json", "multiprocessing", "pdb", "statistics", "unittest"),
    *("urllib.request", "xml", "zipfile", "importlib.metadata", "importlib.resources"),
    *("markdown_it", "pygments", "pylatexenc", "pynvml", "tomli_w", "rich.markdown", "rich.syntax", "textual.pilot"),
    *("backends.llama_cpp", "backends.exllamav2", "backends.openai", "backends.ollama", "backends.registry"),
    *("backends.planning", "backends.gguf.reader", "backends.hardware.nvidia", "presets.plan", "presets.pulling"),
    *("tui.checks", "tui.plain", "tui.chat.exporting", "tui.chat.importing", "tui.widgets.transcript.latex.formula"),
    *("tui.screens.asking", "tui.screens.fetch", "tui.screens.figures.screen", "tui.screens.help"),
    *("tui.screens.overflow", "tui.screens.plan", "tui.screens.preset", "tui.screens.question"),
    *("tui.screens.search", "tui.screens.title", "tui.screens.usage"),
}  # fmt: skip
# A range of characters beyond the alphabets: the rest of a set that has one takes long to compile.
LARGE_SET = re.compile(r"[\u3000-\ud7ff]-|\\u[3-9abcABC][0-9a-fA-F]{3}-")


def fresh(code: str) -> object:
    """What the last line of `code` prints, as JSON, in a Python of its own."""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.splitlines()[-1])


def loaded(import_: str) -> set[str]:
    found = fresh(f"import sys\n{import_}\nnames = sorted(sys.modules)\nimport json\nprint(json.dumps(names))")
    assert isinstance(found, list)
    return set(found)


def patterns(import_: str) -> list[str]:
    """The regular expressions that are compiled by an import."""
    found = fresh(
        "import re\ncompiled, real = [], re._compiler.compile\n"
        "def noted(pattern, flags=0):\n    compiled.append(str(pattern))\n    return real(pattern, flags)\n"
        f"re._compiler.compile = noted\n{import_}\nimport json\nprint(json.dumps(compiled))"
    )
    assert isinstance(found, list)
    return found


def test_what_is_seldom_needed_is_not_loaded_before_the_screen_is_there() -> None:
    assert loaded("import tui.app") & LATER == set()


@pytest.mark.parametrize("module", sorted(LATER))
def test_what_is_loaded_later_is_called_so(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


def test_no_large_set_of_characters_is_compiled_before_the_screen_is_there() -> None:
    found = patterns("import tui.app")
    assert len(found) > 10
    assert [pattern for pattern in found if LARGE_SET.search(pattern)] == []


def test_the_look_at_patterns_would_notice_a_large_set() -> None:
    assert any(map(LARGE_SET.search, patterns("from tui.line import thinning; thinning._surely_wide()")))


def test_no_garbage_is_looked_for_while_imports_are_made_and_it_is_afterwards() -> None:
    # Not counted: what is imported to know the terminal, before the rest.
    found = fresh(
        "import gc, json\nfrom tui.line import profile\n"
        "def looks(): return sum(each['collections'] for each in gc.get_stats())\n"
        "before = looks()\nimport tui.app\nprint(json.dumps([looks() - before, gc.isenabled()]))"
    )
    assert found == [0, True]
