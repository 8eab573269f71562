"""What is private does not leave: known words, and what looks like a secret, an address or a folder."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tui.checks.redaction import Known, redacted, secrets_of

NOTHING = Known()


@pytest.mark.parametrize(
    "text",
    [
        "sk-abcdefgh12345678", "hf_AbCdEfGhIjKl", "ghp_abcdefgh1234", "Bearer abc.def-ghi", "api_key: hunter2",
        "password=hunter2", '"token": "hunter2"', "AIzaSyA-abcdefghijk", "eyJhbGciOiJIUzI1NiJ9.e30.abc",
        "0123456789abcdef0123456789abcdef", "dGhpcyBpcyBhIHNlY3JldCBrZXk5Zg==",
        "GPU-8f6d2c1a-1b2c-3d4e-5f60-718293a4b5c6",
        "10.1.2.3", "fe80::1ff:fe23:4567:890a", "aa:bb:cc:dd:ee:ff", "ann@example.org", "/srv/ann/models/x.gguf",
        "https://ann:pw@gpu.example.org:8000/v1?key=1", "~/private/x", "file:/data/ann.gguf", "ip-10.0.0.7",
    ],
)  # fmt: skip
def test_what_looks_private_is_taken_out(text: str) -> None:
    shown = redacted(f"it says {text} here", NOTHING)
    assert text not in shown
    for part in ("hunter2", "ann", "example", "10.0.0.7", "private"):
        assert part not in shown
    assert shown.startswith("it says ")


@pytest.mark.parametrize(
    "text",
    [
        "nvidia 550.54.14, CUDA up to 12.4", "at 127.0.0.1:11434", "http://127.0.0.1:8080/v1", "http://[::1]:8000",
        "/etc/systemd/logind.conf", "/sys/devices/system/cpu/cpu0/cpufreq", "14b-q3_k_s-offload, exl2-14b-3.5bpw",
        "Samsung SSD 980 PRO 1TB", "12:34:56", "std::bad_alloc", "libggml-cuda.so.0.25.3", "Intel(R) Xeon(R) Processor",
        "read_gb_per_s = 1.497943964", "tokens/s", "the token that it waits for", "OLLAMA_KV_CACHE_TYPE=q8_0",
    ],
)  # fmt: skip
def test_what_a_developer_needs_stays(text: str) -> None:
    assert redacted(text, NOTHING) == text


WORDS = st.text(string.ascii_lowercase + string.digits, min_size=6, max_size=30).filter(
    lambda word: not any(word in sign for sign in ("secret", "address"))
)
AROUND = st.sampled_from(
    ["{}", "x{}y", "/mnt/{}/z", "{}@host", "https://{}.org/{}", "'{}'", "K={}", "[{}]", "{}-pc", "a/{}"]
)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(AROUND, min_size=1, max_size=4), st.sampled_from("snp"))
@example(["aaaaaa", "aaaaaab"], ["{}", "x{}y"], "n")
def test_no_known_word_is_left_in_whatever_stands_around_it(words: list[str], around: list[str], kind: str) -> None:
    held = frozenset(words)
    private = {"s": Known(secrets=held), "n": Known(names=held), "p": Known(places=held)}[kind]
    text = "\n".join(form.format(word, word) for word in words for form in around)
    shown = redacted(text + text.upper(), private).lower()
    assert not [word for word in words if word in shown]


@given(st.text())
def test_any_text_is_redacted_without_failing_and_so_is_what_came_of_it(text: str) -> None:
    once = redacted(text, NOTHING)
    assert isinstance(redacted(once, NOTHING), str)


def test_short_names_are_words_of_their_own_and_long_ones_are_found_inside() -> None:
    private = Known(names=frozenset({"al", "alice"}))
    assert redacted("al said: also alices-pc", private) == "[name] said: also [name]s-pc"


def test_variables_that_hold_secrets_are_known_by_their_names() -> None:
    given_ = {
        "HF_TOKEN": "abcd1234",
        "MY_API_KEY": "k",
        "PATH": "/usr/bin",
        "PWD": "/home/user",
        "DB_PASSWORD": "hunter2",
    }
    assert secrets_of(given_) == {"abcd1234", "hunter2"}
