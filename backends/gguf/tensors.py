"""Tensors of a GGUF file: their types in ggml, their sizes and their places, checked as llama.cpp checks them."""

from __future__ import annotations

from itertools import pairwise

import msgspec

# ggml.h refuses longer names, and more dimensions.
MAX_NAME, MAX_DIMENSIONS = 63, 4
_INT64_MAX = 2**63 - 1


class TensorType(msgspec.Struct, frozen=True):
    """A type of ggml: `block_bytes` hold `block` weights."""

    name: str
    block: int
    block_bytes: int


# Numbers, names and blocks are those of ggml.h and ggml-common.h. What is not here was removed from the format (4, 5,
# 31 to 33, 36 to 38) or is newer than this table.
TYPES: dict[int, TensorType] = {
    number: TensorType(name, block, size)
    for number, name, block, size in (
        (0, "f32", 1, 4),
        (1, "f16", 1, 2),
        (2, "q4_0", 32, 18),
        (3, "q4_1", 32, 20),
        (6, "q5_0", 32, 22),
        (7, "q5_1", 32, 24),
        (8, "q8_0", 32, 34),
        (9, "q8_1", 32, 36),
        (10, "q2_K", 256, 84),
        (11, "q3_K", 256, 110),
        (12, "q4_K", 256, 144),
        (13, "q5_K", 256, 176),
        (14, "q6_K", 256, 210),
        (15, "q8_K", 256, 292),
        (16, "iq2_xxs", 256, 66),
        (17, "iq2_xs", 256, 74),
        (18, "iq3_xxs", 256, 98),
        (19, "iq1_s", 256, 50),
        (20, "iq4_nl", 32, 18),
        (21, "iq3_s", 256, 110),
        (22, "iq2_s", 256, 82),
        (23, "iq4_xs", 256, 136),
        (24, "i8", 1, 1),
        (25, "i16", 1, 2),
        (26, "i32", 1, 4),
        (27, "i64", 1, 8),
        (28, "f64", 1, 8),
        (29, "iq1_m", 256, 56),
        (30, "bf16", 1, 2),
        (34, "tq1_0", 256, 54),
        (35, "tq2_0", 256, 66),
        (39, "mxfp4", 32, 17),
        (40, "nvfp4", 64, 36),
        (41, "q1_0", 128, 18),
        (42, "q2_0", 64, 18),
    )
}


class Tensor(msgspec.Struct, frozen=True):
    """One tensor. `offset` is in bytes from the beginning of the tensor data, `shape` begins with the row's length.

    `size` is in bytes, None where the type is unknown and the file has to tell (`sized`).
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int | None

    @property
    def weights(self) -> int:
        weights = 1
        for length in self.shape:
            weights *= length
        return weights

    @property
    def known(self) -> bool:
        return self.type in TYPES

    @property
    def type_name(self) -> str:
        return TYPES[self.type].name if self.known else f"type {self.type}"


def tensor_size(shape: tuple[int, ...], number: int) -> int | None:
    """Return the bytes of a tensor, None if the type is unknown.

    Raises ValueError with a sentence if there can be no such tensor: a row of broken blocks, or more than 2^63 weights.
    """
    weights = 1
    for length in shape:
        weights *= length
    if weights > _INT64_MAX:
        raise ValueError(f"{' × '.join(map(str, shape))} weights are more than can be counted")
    known = TYPES.get(number)
    if known is None:
        return None
    row = shape[0] if shape else 1
    if row % known.block:
        raise ValueError(
            f"its rows have {row} weights, which is no multiple of {known.block}, the block of {known.name}"
        )
    return weights // known.block * known.block_bytes


def sized(tensors: tuple[Tensor, ...], alignment: int, data_size: int) -> tuple[Tensor, ...]:
    """Return the tensors with a size each: one of unknown type reaches to the next, or to the end of the file.

    `data_size` is what the file has behind its header, in bytes. That size is up to `alignment` - 1 bytes too large.
    Raises ValueError with a sentence if tensors overlap, leave gaps or are not aligned: llama.cpp refuses all these.
    """
    ends = [tensor.offset for tensor in tensors[1:]] + [data_size]
    whole = tuple(
        tensor if tensor.size is not None else msgspec.structs.replace(tensor, size=max(0, end - tensor.offset))
        for tensor, end in zip(tensors, ends, strict=False)
    )
    if whole and whole[0].offset:
        raise ValueError(f"the first tensor, {whole[0].name}, lies at {whole[0].offset} of the data and not at 0")
    for tensor, following in pairwise(whole):
        expected = padded(tensor.offset + (tensor.size or 0), alignment)
        if following.offset != expected:
            raise ValueError(
                f"the tensor {following.name} lies at {following.offset} of the data and not at {expected}"
            )
    return whole


def padded(size: int, alignment: int) -> int:
    """Return `size` rounded up to a multiple of `alignment`, both in bytes."""
    return -(-size // alignment) * alignment
