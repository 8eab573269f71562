"""Models of any dimensions, as files for tests know them and as the rules of recipes do."""

from __future__ import annotations

from hypothesis import strategies as st

from backends.gguf.recipes import Dimensions
from tests.gguf_files import Model


def dimensions(model: Model) -> Dimensions:
    """Return what a model's config.json would say."""
    return Dimensions(
        architecture=model.architecture,  # type: ignore[arg-type]
        layers=model.layers,
        hidden=model.hidden,
        feed_forward=model.feed_forward,
        heads=model.heads,
        kv_heads=model.kv_heads,
        head=model.head,
        vocabulary=model.vocabulary,
        context_length=model.context,
        tied=model.tied,
        rope_factors=model.architecture == "llama",
    )


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Any dense model, its rows multiples of 32 weights."""
    kv_heads = draw(st.integers(1, 4))
    rows = st.integers(1, 40).map(lambda blocks: 32 * blocks)
    return Model(
        "any",
        draw(st.sampled_from(["llama", "qwen2", "qwen3"])),
        layers=draw(st.integers(1, 40)),
        hidden=draw(rows),
        feed_forward=draw(rows),
        heads=kv_heads * draw(st.integers(1, 9)),
        kv_heads=kv_heads,
        vocabulary=600,
        head=draw(st.sampled_from([32, 64, 96, 128])),
        tied=draw(st.booleans()),
    )
