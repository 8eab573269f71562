"""The parts of the Ollama backend: addresses, templates, options, counting."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama._client import _parse_host

from backends.base import Message, Sampling
from backends.errors import BadOptions
from backends.http.counting import Estimator
from backends.ollama import address, dialect
from backends.ollama.connection import full_name
from backends.ollama.loading import parsed
from backends.ollama.options import OllamaOptions, runner_options
from backends.ollama.templates import read_template
from tests.backends import fake_ollama

R1 = """{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1}}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>
  {{- if and $.IsThinkSet (and $last .Thinking) -}}
<think>
{{ .Thinking }}
</think>
{{- end }}{{ .Content }}{{- if not $last }}<｜end▁of▁sentence｜>{{- end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ end }}
{{- end -}}
{{- end }}"""
OLD_R1 = """{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1}}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>{{ .Content }}{{- if not $last }}<｜end▁of▁sentence｜>{{- end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>{{- end }}
{{- end }}"""
ZEPHYR = """{{ if .System }}<|system|>
{{ .System }}</s>
{{ end }}<|user|>
{{ .Prompt }}</s>
<|assistant|>
{{ .Response }}</s>"""

HOSTS = [
    "", "1.2.3.4", ":56789", "1.2.3.4:56789", "http://1.2.3.4", "https://1.2.3.4", "https://1.2.3.4:56789",
    "example.com", "http://example.com", "https://example.com", "example.com/", "example.com:56789/path/", "https://example.com:5/path",
    "[0001:002:003:0004::1]", "[::1]:56789", "http://[::1]", "https://[::1]:56789/path",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_an_address_is_read_as_the_client_library_reads_it(host: str) -> None:
    assert address.base_url(host) == _parse_host(host)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("http://[::]:5000", "http://[::1]:5000"),
        ("HTTPS://Example.com", "https://example.com:443"),
    ],
)
def test_an_address_to_listen_on_everywhere_is_one_of_this_machine(host: str, url: str) -> None:
    assert address.base_url(host) == url


@pytest.mark.parametrize(
    "host", ["ftp://x", "http://a b", "x:99999", "x:port", "http://user:pass@x", "http://x?q", "[::1"]
)
def test_what_is_no_address_is_a_bad_option(host: str) -> None:
    with pytest.raises(BadOptions):
        address.base_url(host)


@pytest.mark.parametrize("host", ["http://user:secret@x", "http://:secret@x", "user:secret@x:99999"])
def test_a_password_in_an_address_is_refused_and_not_shown(host: str) -> None:
    with pytest.raises(BadOptions) as caught:
        address.base_url(host)
    shown = repr((caught.value.title, caught.value.detail, caught.value.hint, caught.value.__cause__))
    assert "secret" not in shown


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_bad_option(host: str) -> None:
    try:
        url = address.base_url(host)
    except BadOptions:
        return
    assert url.startswith(("http://", "https://"))
    assert address.base_url(url) == url


def test_the_environment_names_the_server_where_the_preset_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address.find("") == address.Address("http://127.0.0.1:11434", chosen=True)
    monkeypatch.setenv("OLLAMA_HOST", "gpu.lan")
    assert address.find("") == address.Address("http://gpu.lan:11434", chosen=True)
    assert address.find("other.lan") == address.Address("http://other.lan:11434", chosen=False)


@pytest.mark.parametrize(
    ("source", "kind", "opens"),
    [
        (R1, "messages", False),
        (OLD_R1, "messages", False),
        (fake_ollama.GO_OPEN, "messages", False),
        (fake_ollama.GO_THINK, "messages", True),
        (fake_ollama.GO_CLOSED, "closed", False),
        (ZEPHYR, "messages", False),
        ("{{ .Prompt }}", "closed", False),
        ("", "closed", False),
        (fake_ollama.JINJA, "jinja", False),
        ("{% for m in messages %}{{ m.content }}", "closed", False),
        ("{% for a in range(99999999) %}{{ a }}{% endfor %}", "closed", False),
    ],
)
def test_a_template_shows_how_an_answer_can_be_continued(source: str, kind: str, opens: bool) -> None:
    found = read_template(source)
    assert (found.kind, found.opens_thought) == (kind, opens)


@given(st.text(max_size=400))
def test_any_text_may_stand_where_a_template_should(source: str) -> None:
    assert read_template(source).kind in ("messages", "jinja", "closed")


def test_only_what_a_preset_says_is_sent_as_load_options() -> None:
    assert runner_options(OllamaOptions(), 4096) == {"num_ctx": 4096}
    options = OllamaOptions(gpu_layers=0, threads=4, batch=64, mmap=False, main_gpu=1)
    assert runner_options(options, 2048) == {
        "num_ctx": 2048, "num_gpu": 0, "num_thread": 4, "num_batch": 64, "use_mmap": False, "main_gpu": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"contxt": 1}, {"context": 0}, {"gpu_layers": -1}, {"threads": 0}, {"kv_cache": "q8_0"}, {"key": "secret"}],
)
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, OllamaOptions)


def test_all_of_the_sampling_is_said_so_that_no_default_of_the_model_slips_in() -> None:
    assert dialect.sampling_options(Sampling(), ()) == {
        "temperature": 0.6, "top_p": 0.95, "top_k": 0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0,
        "repeat_last_n": 64, "frequency_penalty": 0.0, "presence_penalty": 0.0, "seed": -1, "num_predict": -1,
    }  # fmt: skip


def test_our_stop_strings_stand_beside_those_of_the_model() -> None:
    parameters = 'temperature    0.6\nstop           "<|im_end|>"\nstop           "\\"quoted\\""\nstopper 1'
    stops = dialect.own_stops(parameters)
    assert stops == ("<|im_end|>", '"quoted"')
    assert "stop" not in dialect.sampling_options(Sampling(), stops)
    assert dialect.sampling_options(Sampling(stop=("END", "<|im_end|>")), stops)["stop"] == [*stops, "END"]


def test_a_version_is_compared_by_its_numbers() -> None:
    assert parsed("0.9.6") < parsed("0.12.5") < parsed("0.12.6-rc7") == parsed("0.12.6") < parsed("0.33.0-rc2")
    assert parsed("0.0.0") > parsed("99.0")
    assert parsed("nonsense") > parsed("99.0")


def test_a_model_without_a_tag_is_the_latest() -> None:
    assert full_name("deepseek-r1") == full_name("DeepSeek-R1:latest") == "deepseek-r1:latest"
    assert full_name("hf.co/x/y:Q4_K_M") == "hf.co/x/y:q4_k_m"
    assert full_name("host:5000/x/y") == "host:5000/x/y:latest"


def test_an_estimate_learns_from_a_true_count() -> None:
    messages = (Message("user", "word " * 400),)
    estimator = Estimator()
    first = estimator.count(messages)
    estimator.learn(messages, 812)
    assert first != 812
    assert abs(estimator.count(messages) - 812) <= 2
    assert abs(estimator.count((Message("user", "word " * 800),)) - 1612) <= 4


@pytest.mark.parametrize("tokens", [0, 1, 10**9])
def test_an_absurd_count_does_not_spoil_the_estimates(tokens: int) -> None:
    messages = (Message("user", "word " * 400),)
    estimator = Estimator()
    estimator.learn(messages, tokens)
    assert 100 <= estimator.count(messages) <= 2100


def test_thoughts_in_the_history_are_not_counted() -> None:
    plain = (Message("user", "Hi"), Message("assistant", "Hello."), Message("user", "And?"))
    thinking = (plain[0], Message("assistant", "<think>\n" + "hm " * 500 + "\n</think>\n\nHello."), plain[2])
    assert Estimator().count(plain) == Estimator().count(thinking)
