"""`presets new`, `copy`, `set`, `use`, `remove`: own presets that `presets check` accepts, without an editor."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pytest

from presets.catalog import find, load_catalog
from presets.schema import PresetEntry
from tests.backends.fake_hub import FakeHub
from tests.gguf_files import LLAMA_8B, QWEN_1_5B, QWEN_14B
from tests.models_here import gguf, in_hub_cache, in_lm_studio, in_ollama
from tests.tui.commands.conftest import COMMAND
from tests.tui.commands.in_process import runner

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Write

HUB = "bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF"
FILE = "DeepSeek-R1-Distill-Qwen-14B-Q3_K_S.gguf"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    return runner(monkeypatch, capsys, tmp_path)


@pytest.fixture
def folder(home: Path) -> Path:
    return home / "config/presets"


def entry(name: str) -> PresetEntry:
    return find(load_catalog(), name)


def good(run: Run, name: str) -> dict[str, Any]:
    """What `presets show` says of a preset that `presets check` accepts."""
    checked = run("presets", "check", name)
    assert checked.status == 0, checked.out
    return run("presets", "show", name, "--json").json  # type: ignore[no-any-return]


class TestNew:
    def test_a_file_becomes_a_preset_that_says_what_its_header_says(
        self, run: Run, tmp_path: Path, folder: Path
    ) -> None:
        file = gguf(tmp_path / "My Models/R1 big.gguf", QWEN_14B, "Q3_K_S")
        ran = run("presets", "new", str(file), "--slot", "6")
        assert ran.status == 0, ran.err
        shown = good(run, "r1-big")
        assert (shown["title"], shown["family"], shown["quantization"]) == (
            "Qwen-14B Q3_K_S", "DeepSeek-R1-Distill-Qwen-14B", "Q3_K_S",
        )  # fmt: skip
        assert shown["options"]["llama_cpp"]["source"] == f"file:{file}"
        assert (shown["key"], shown["context"], shown["ready"]) == ("F7", 8192, True)
        text = (folder / "r1-big.toml").read_text()
        assert text.count("#") > 8
        assert "trained for 131,072" in text
        assert stat.S_IMODE((folder / "r1-big.toml").stat().st_mode) == 0o600

    def test_a_relative_path_is_meant_from_here_and_the_name_may_be_chosen(self, run: Run, tmp_path: Path) -> None:
        gguf(tmp_path / "a.gguf", QWEN_1_5B)
        ran = run("presets", "new", "./a.gguf", "--name", "mine", "--title", 'My "own"', "--context", "4096", "--json")
        assert ran.json == {
            "name": "mine", "file": str(tmp_path / "home/config/presets/mine.toml"), "new": True, "ready": True,
        }  # fmt: skip
        shown = good(run, "mine")
        assert (shown["title"], shown["context"]) == ('My "own"', 4096)

    def test_a_file_at_hugging_face_is_named_by_its_address_and_needs_no_network(self, run: Run) -> None:
        address = f"https://huggingface.co/{HUB}/blob/main/{FILE}"
        ran = run("presets", "new", address, "--name", "far")
        assert ran.status == 0, ran.err
        shown = good(run, "far")
        assert shown["options"]["llama_cpp"]["source"] == f"hf:{HUB}/{FILE}"
        assert (shown["family"], shown["quantization"]) == ("DeepSeek-R1-Distill-Qwen-14B", "Q3_K_S")
        assert shown["model"]["reasoning"] == "auto"
        assert "not here yet" in ran.out
        ran = run("presets", "new", f"https://huggingface.co/{HUB}/resolve/v1/sub/{FILE}?download=true", "--print")
        assert f'source = "hf:{HUB}/sub/{FILE}@v1"' in ran.out

    def test_the_header_of_a_file_that_is_not_here_is_read_where_it_is_published(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FakeHub() as hub:
            hub.add(gguf(tmp_path / "strange name.gguf", LLAMA_8B), repo="me/some")
            monkeypatch.setenv("HF_ENDPOINT", hub.root)
            monkeypatch.setenv("HF_HUB_OFFLINE", "0")
            ran = run("presets", "new", "hf:me/some/strange name.gguf", "--name", "far")
            assert ran.status == 0, ran.err
            assert hub.sent < 5_000_000
            asked = len(hub.asked)
            assert run("presets", "new", "hf:me/some/other.gguf", "--no-fetch").status == 0
            assert len(hub.asked) == asked
            assert "# Its header could not be read" in run("presets", "new", "hf:me/some/none.gguf", "--print").out
        shown = good(run, "far")
        assert (shown["family"], shown["quantization"]) == ("DeepSeek-R1-Distill-Llama-8B", "Q4_K_M")
        assert shown["model"]["reasoning"] == "none"  # its template knows no thoughts

    def test_a_tag_of_ollama_that_is_here_runs_with_both_engines_from_one_file(self, run: Run) -> None:
        blob = in_ollama("deepseek-r1:8b", LLAMA_8B)
        assert run("presets", "new", "ollama:deepseek-r1:8b").status == 0
        shown = good(run, "deepseek-r1-8b")
        assert shown["backend"] == "ollama"
        assert shown["options"]["ollama"]["source"] == "ollama:deepseek-r1:8b"
        assert shown["options"]["llama_cpp"]["source"] == f"file:{blob}"
        assert (shown["family"], shown["quantization"]) == ("DeepSeek-R1-Distill-Llama-8B", "Q4_K_M")

    def test_a_model_that_ollama_keeps_runs_first_with_llama_cpp_when_it_is_chosen_by_name(self, run: Run) -> None:
        in_ollama("deepseek-r1:8b", LLAMA_8B)
        assert run("presets", "new", "deepseek-r1:8b").status == 0
        shown = good(run, "deepseek-r1-8b")
        assert (shown["backend"], shown["backends"], shown["ready"]) == ("llama_cpp", ["llama_cpp", "ollama"], True)

    def test_a_tag_that_is_not_here_is_told_by_its_name(self, run: Run) -> None:
        assert 'quantization = "unknown"' in run("presets", "new", "ollama:deepseek-r1:14b", "--print").out
        assert run("presets", "new", "ollama:deepseek-r1:14b-qwen-distill-q4_K_M").status == 0
        shown = good(run, "deepseek-r1-14b-qwen-distill-q4_k_m")
        assert list(shown["options"]) == ["ollama"]
        assert shown["quantization"] == "Q4_K_M"

    def test_a_found_model_is_named_as_it_is_listed(self, run: Run) -> None:
        in_hub_cache(HUB, FILE, QWEN_14B, "Q3_K_S")
        assert run("presets", "new", FILE, "--name", "cached").status == 0
        shown = good(run, "cached")
        assert shown["options"]["llama_cpp"]["source"] == f"hf:{HUB}/{FILE}"
        assert shown["ready"] is True

    def test_an_exl2_folder_is_for_exllamav2(self, run: Run, tmp_path: Path) -> None:
        assert run("presets", "new", "hf:me/DeepSeek-R1-Distill-Qwen-14B-exl2-3.5bpw", "--name", "exl").status == 0
        shown = good(run, "exl")
        assert (shown["backend"], shown["quantization"]) == ("exllamav2", "EXL2 3.5 bits")
        assert shown["family"] == "DeepSeek-R1-Distill-Qwen-14B"

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("no-such-thing", "no model of this name was found"),
            ("./none.gguf", "file missing"),
            ("server:x", "needs more than a name"),
            ("https://example.com/a/b/blob/main/x.gguf", "no address of a file at Hugging Face"),
            ("hf:only", "owner, repository and file"),
        ],
    )
    def test_what_is_no_source_is_told(self, run: Run, source: str, said: str) -> None:
        ran = run("presets", "new", source)
        assert ran.status == 1
        assert said in ran.err

    def test_a_damaged_file_is_no_model(self, run: Run, tmp_path: Path, folder: Path) -> None:
        (tmp_path / "bad.gguf").write_text("no model")
        ran = run("presets", "new", "./bad.gguf")
        assert ran.status == 1
        assert "This is not a GGUF model" in ran.err
        assert not folder.exists()

    def test_nothing_is_overwritten_and_bad_names_are_refused(self, run: Run, preset: Write, tmp_path: Path) -> None:
        path = preset("mine")
        before = path.read_text()
        gguf(tmp_path / "a.gguf", QWEN_1_5B)
        ran = run("presets", "new", "./a.gguf", "--name", "mine")
        assert ran.status == 1
        assert "There is a preset mine already" in ran.err
        assert path.read_text() == before
        assert "name of a built-in" in run("presets", "new", "./a.gguf", "--name", "starter").err
        for name in ("../x", "a/b", "", ".x", "x.toml", "a b", "x" * 65, "\x1b[31m"):
            ran = run("presets", "new", "./a.gguf", f"--name={name}")
            assert ran.status == (0 if name == "" else 1), name
        assert "\x1b" not in ran.err

    def test_a_name_that_is_taken_gets_a_number(self, run: Run, tmp_path: Path, folder: Path) -> None:
        gguf(tmp_path / "a.gguf", QWEN_1_5B)
        for _ in range(2):
            assert run("presets", "new", "./a.gguf").status == 0
        assert sorted(path.name for path in folder.iterdir()) == ["a-2.toml", "a.toml"]

    def test_hostile_names_in_a_header_end_in_a_harmless_file(self, run: Run, tmp_path: Path, folder: Path) -> None:
        import msgspec

        from tests.gguf_files import Model

        evil = Model('"\n[backends.x]\nsource = "\x1b[31m', **{
            key: value for key, value in vars(QWEN_1_5B).items() if key != "name"
        })  # fmt: skip
        gguf(tmp_path / 'e"vil\n#.gguf', evil)
        assert run("presets", "new", './e"vil\n#.gguf', "--name", "evil").status == 1  # no source can name it
        gguf(tmp_path / 'e"vil.gguf', evil)
        assert run("presets", "new", './e"vil.gguf', "--name", "evil").status == 0
        shown = good(run, "evil")
        assert list(shown["options"]) == ["llama_cpp"]
        assert msgspec.json.encode(shown).find(b"\x1b") < 0

    def test_without_a_source_somebody_has_to_be_there(self, run: Run) -> None:
        assert run("presets", "new").status == 2

    def test_a_person_chooses_by_number_and_is_asked_little(self, home: Path) -> None:
        in_ollama("deepseek-r1:8b", LLAMA_8B)
        in_lm_studio("me/some/small.gguf", QWEN_1_5B)
        child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "presets", "new"], encoding="utf-8", timeout=20)
        child.expect("1  LM Studio .* me/some/small.gguf")
        child.expect("2  Ollama .* deepseek-r1:8b")
        child.expect("Which model")
        child.sendline("1")
        child.expect(r"Name of the preset \[small\]: ")
        child.sendline("tiny")
        child.expect(r"Title on the screen \[Qwen-1.5B Q4_K_M\]: ")
        child.sendline("")
        child.expect("Written: .*tiny.toml")
        child.expect(pexpect.EOF)
        assert entry("tiny").preset.title == "Qwen-1.5B Q4_K_M"


class TestCopy:
    def test_a_copy_keeps_the_comments_and_takes_no_key(self, run: Run, folder: Path) -> None:
        assert run("presets", "copy", "8b-q4_k_m", "mine", "--title", "Mine").status == 0
        text = (folder / "mine.toml").read_text()
        assert "# DeepSeek's own advice for R1" in text
        shown = good(run, "mine")
        assert (shown["title"], shown["slot"]) == ("Mine", None)
        assert entry("8b-q4_k_m").preset.slot == 1
        assert shown["options"] == run("presets", "show", "8b-q4_k_m", "--json").json["options"]

    def test_a_copy_hides_no_built_in(self, run: Run, folder: Path) -> None:
        ran = run("presets", "copy", "8b-q4_k_m", "starter")
        assert ran.status == 1
        assert "would hide it" in ran.err
        assert not folder.exists()


class TestSet:
    def test_a_built_in_is_changed_by_a_file_that_says_only_what_differs(self, run: Run, folder: Path) -> None:
        ran = run("presets", "set", "8b-q4", "context=16384", "sampling.temperature=0.7", "title=14")
        assert ran.status == 0, ran.err
        assert tomllib.loads((folder / "8b-q4_k_m.toml").read_text()) == {
            "extends": "8b-q4_k_m", "context": 16384, "title": "14", "sampling": {"temperature": 0.7},
        }  # fmt: skip
        shown = good(run, "8b-q4_k_m")
        assert (shown["context"], shown["title"], shown["slot"], shown["builtin"]) == (16384, "14", 1, False)
        assert shown["options"]["llama_cpp"]["kv_cache"] == "q8_0"

    @pytest.mark.parametrize(
        ("wish", "said"),
        [
            ("context=12", "expected a whole number >= 256"), ("context=many", "found text in quotes"),
            ("sampling.temperature=nan", "expected 0 to 10, found a number beyond all sense"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_with_a_value_is_said_of_what_was_typed(self, run: Run, wish: str, said: str) -> None:
        ran = run("presets", "set", "8b-q4_k_m", wish)
        assert ran.status == 1
        assert said in ran.err

    def test_a_users_file_keeps_its_comments_its_mode_and_its_link(
        self, run: Run, preset: Write, tmp_path: Path
    ) -> None:
        path = preset("mine")
        path.write_text("# My words.\n" + path.read_text().replace('backend = "echo"', 'backend = "echo" # why'))
        moved = path.rename(tmp_path / "dotfile.toml")
        moved.chmod(0o644)
        path.symlink_to(moved)
        ran = run("presets", "set", "mine", "title=Other name", "backends.echo.text=x = y", "--unset", "keep_alive_s")
        assert ran.status == 0, ran.err
        text = moved.read_text()
        assert text.startswith("# My words.\n")
        assert 'backend = "echo" # why' in text
        assert path.is_symlink()
        assert stat.S_IMODE(moved.stat().st_mode) == 0o644
        shown = good(run, "mine")
        assert (shown["title"], shown["keep_alive_s"]) == ("Other name", None)
        assert shown["options"]["echo"]["text"] == "x = y"

    @pytest.mark.parametrize(
        ("wish", "said"),
        [
            ("context=12", "context"),
            ("temperature=1", "Did you mean sampling.temperature?"),
            ("backends.echo.source=nothing", "wrong source"),
            ("title=", "title"),
            ("=3", "unknown key"),
        ],
    )
    def test_what_a_preset_may_not_say_changes_nothing(self, run: Run, preset: Write, wish: str, said: str) -> None:
        path = preset("mine")
        before = path.read_bytes()
        ran = run("presets", "set", "mine", wish)
        assert ran.status == 1
        assert said in ran.err
        assert path.read_bytes() == before
        assert [one.name for one in path.parent.iterdir()] == ["mine.toml"]

    def test_a_value_that_has_no_line_of_its_own_is_left_to_its_author(
        self, run: Run, preset: Write, folder: Path
    ) -> None:
        path = preset("mine")
        text = 'title = "T"\nbackend = "echo"\nmodel = { family = "f", quantization = "q" }\n'
        path.write_text(text + '[backends]\necho = { source = "server:x" }\n')
        before = path.read_bytes()
        ran = run("presets", "set", "mine", "backends.echo.text=hello")
        assert ran.status == 1
        assert 'Write it into the file yourself: backends.echo.text = "hello"' in ran.err
        assert path.read_bytes() == before

    def test_a_broken_file_can_be_mended(self, run: Run, preset: Write) -> None:
        preset("mine", context="x")
        assert run("presets", "check", "mine").status == 1
        assert run("presets", "set", "mine", "backends.echo.context=512").status == 0
        assert run("presets", "check", "mine").status == 0

    def test_wrong_usage(self, run: Run, preset: Write) -> None:
        preset("mine")
        assert run("presets", "set", "mine").status == 2
        assert run("presets", "set", "mine", "context").status == 2
        assert run("presets", "set", "nobody", "context=512").status == 1


class TestUse:
    def test_a_preset_uses_its_model_where_another_program_keeps_it(self, run: Run, folder: Path) -> None:
        assert run("presets", "use", "14b").status == 1
        blob = in_ollama("r1-14b:q3", QWEN_14B, "Q3_K_S")
        ran = run("presets", "use", "14b")
        assert ran.status == 0, ran.err
        shown = good(run, "14b-q3_k_s-offload")
        assert shown["options"]["llama_cpp"]["source"] == f"file:{blob}"
        assert (shown["ready"], shown["slot"], shown["title"]) == (True, 2, "14B Q3_K_S + offload")

    def test_another_model_is_not_slipped_in(self, run: Run, tmp_path: Path, folder: Path) -> None:
        file = gguf(tmp_path / "small.gguf", QWEN_1_5B)
        ran = run("presets", "use", "14b", "./small.gguf")
        assert ran.status == 1
        assert "is DeepSeek R1 Distill Qwen 1.5B Q4_K_M" in ran.err
        assert not folder.exists()
        assert run("presets", "use", "14b", "./small.gguf", "--anyway").status == 0
        assert good(run, "14b-q3_k_s-offload")["options"]["llama_cpp"]["source"] == f"file:{file}"

    def test_the_list_offers_what_was_found(self, run: Run) -> None:
        in_lm_studio("me/some/r1.gguf", LLAMA_8B)
        out = run("presets").out
        assert "8b-q4_k_m: LM Studio has it (me/some/r1.gguf): deepseek-tui presets use 8b-q4_k_m" in out
        rows = {row["name"]: row for row in run("presets", "--json").json["presets"]}
        assert rows["8b-q4_k_m"]["elsewhere"]["place"] == "LM Studio"
        assert rows["starter"]["elsewhere"] is None
        assert "presets use 8b-q4_k_m" in run("plan", "8b-q4_k_m", "--brief", "--no-measure").out
        assert "presets use" not in run("plan", "8b-q4_k_m", "--brief", "--machine", "rtx3070-8gb-32gb").out
        shown = run("presets", "show", "8b-q4_k_m").out
        assert "presets use 8b-q4_k_m" in shown


class TestRemove:
    def test_an_own_preset_goes_and_what_it_hid_is_back(self, run: Run, folder: Path) -> None:
        run("presets", "set", "starter", "title=Hidden")
        assert run("presets", "remove", "starter").status == 2
        assert entry("starter").preset.title == "Hidden"
        ran = run("presets", "remove", "starter", "--yes")
        assert ran.status == 0
        assert "The built-in of this name is back" in ran.out
        assert entry("starter").preset.title == "Starter 135M"

    def test_built_ins_strangers_and_what_others_build_on_stay(self, run: Run, preset: Write, folder: Path) -> None:
        preset("base")
        (folder / "above.toml").write_text('extends = "base"\n')
        for name, said in (
            ("starter", "comes with deepseek-tui and stays"),
            ("base", "Other presets extend base"),
            ("nobody", "there is none of this name"),
            ("../../x", "there is none of this name"),
        ):
            ran = run("presets", "remove", name, "--yes")
            assert (ran.status, said in ran.err) == (1, True), ran.err
        assert run("presets", "remove", "above", "--yes").status == 0
        assert run("presets", "remove", "base", "--yes").status == 0
        assert list(folder.iterdir()) == []

    def test_a_broken_one_can_be_removed_and_somebody_who_is_asked_may_refuse(self, run: Run, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "bad.toml").write_text("= =")
        child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "presets", "remove", "bad"], encoding="utf-8", timeout=20)
        child.expect(r"Delete the preset bad\? Its model stays. \[y/N\] ")
        child.sendline("n")
        child.expect("Nothing was deleted")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 130
        assert run("presets", "remove", "bad", "-y", "--json").json == {
            "removed": "bad", "file": str(folder / "bad.toml"),
        }  # fmt: skip
        assert list(folder.iterdir()) == []
