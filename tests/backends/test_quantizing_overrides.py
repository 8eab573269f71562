"""The patterns that give tensors their types: each fits its own tensors, and no other's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.gguf.tensors import TYPES
from backends.llama_cpp import binding
from backends.llama_cpp.quantizing.overrides import Params, overrides

KINDS = ("q3_K", "q4_K", "q6_K", "q8_0")
names = st.one_of(
    st.builds("blk.{}.{}.weight".format, st.integers(0, 80), st.sampled_from(["attn_q", "attn_k_b", "ffn_down"])),
    st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True),
)


def first_fit(patterns: list[tuple[str, int]], name: str) -> str | None:
    return next((TYPES[kind].name for pattern, kind in patterns if re.search(pattern, name)), None)


@given(st.dictionaries(names, st.sampled_from(KINDS), max_size=40), st.lists(names, max_size=10))
def test_each_tensor_gets_its_type_and_no_other_gets_any(types: dict[str, str], others: list[str]) -> None:
    patterns = [(one.pattern, one.type) for one in overrides(types)]
    for name, kind in types.items():
        assert first_fit(patterns, name) == kind
    for name in set(others) - set(types):
        assert first_fit(patterns, name) is None


def test_a_large_model_needs_few_patterns() -> None:
    """The engine tries each pattern with each name: one for each tensor would be half a million tries."""
    roles = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    types = {f"blk.{layer}.{role}.weight": "q4_K" if layer < 20 else "q3_K" for layer in range(64) for role in roles}
    found = overrides(types | {"output.weight": "q6_K", "token_embd.weight": "q3_K"})
    assert len(found) == 4
    assert found[2].pattern.startswith(r"^blk\.(0|1|2|3|") or found[0].pattern.startswith("^output")


@pytest.mark.parametrize("name", ["blk.0.(a+)+$.weight", "a b", "blk.0.ü.weight", "", "x\n"])
def test_a_name_that_might_be_a_pattern_is_refused(name: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - it is the name and nothing else
        overrides({name: "q4_K"})
    assert caught.value.args == (name,)


def test_a_key_that_is_too_long_for_the_engine_is_refused_and_not_cut() -> None:
    params = Params(binding.library())
    params.give_keys({"deepseek_tui.recipe": "x" * 127})
    assert params.value.kv_overrides[0].value.val_str == b"x" * 127
    with pytest.raises(ValueError, match="128 bytes"):
        params.give_keys({"deepseek_tui.recipe": "x" * 128})
