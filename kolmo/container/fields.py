"""Fields of a file's header: numbers, texts, names and lists of them, deflated with a dictionary.

Those of a container, and of a mosaic file. docs/formats/kmo.md specifies them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from kolmo.codes.numbers import Reader, number_bytes
from kolmo.container.names import mark, unmark
from kolmo.errors import InputError

_INFLATED = 1 << 20  # bytes that any header may have, inflated
_RATIO = 64  # a larger one may have this many times its deflated size


def deflate(body: bytes) -> bytes:
    """The fields, deflated with the preset dictionary."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=likely_words())
    return packer.compress(body) + packer.flush()


def inflate(packed: bytes) -> bytes:
    """Undo `deflate`; InputError or zlib.error if the bytes are damaged, or too many come of them.

    >>> inflate(deflate(b"layers.3.weight"))
    b'layers.3.weight'
    """
    unpacker = zlib.decompressobj(-15, zdict=likely_words())
    body = unpacker.decompress(packed, max(_INFLATED, _RATIO * len(packed)))
    if not unpacker.eof or unpacker.unused_data:
        raise InputError("the header is too long, or cut off")
    return body


def names_bytes(names: Sequence[str]) -> bytes:
    """All names, with marks where that is shorter."""
    plain = [name.encode("utf-8", "surrogatepass") for name in names]
    ways = [b"".join(map(sized_bytes, way)) for way in (plain, mark(plain))]
    return min(ways, key=lambda way: len(deflate(way)))


def read_names(reader: Reader, count: int, *, marked: bool = True) -> list[str]:
    """So many names; in files before there were marks, as they stand."""
    names = [reader.take(reader.number()) for _ in range(count)]
    if marked:
        names = list(unmark(names))
    return [name.decode("utf-8", "surrogatepass") for name in names]


def text_bytes(text: str) -> bytes:
    return sized_bytes(text.encode("utf-8", "surrogatepass"))


def sized_bytes(data: bytes) -> bytes:
    return number_bytes(len(data)) + data


def read_text(reader: Reader) -> str:
    return reader.take(reader.number()).decode("utf-8", "surrogatepass")


def list_bytes(numbers: Sequence[int]) -> bytes:
    return b"".join(map(number_bytes, (len(numbers), *numbers)))


def read_list(reader: Reader) -> list[int]:
    return [reader.number() for _ in range(reader.number())]


def shortened(numbers: Sequence[int]) -> bytes:
    """A list of numbers, of one where all are equal."""
    return list_bytes(numbers[:1] if len(set(numbers)) == 1 else numbers)


def lengthened(reader: Reader, count: int) -> list[int]:
    """Read what `shortened` made of so many numbers."""
    numbers = read_list(reader)
    numbers *= count if len(numbers) == 1 else 1
    if len(numbers) != count:
        raise InputError("the header lists too many tensors, or too few")
    return numbers


# --- the preset dictionary ------------------------------------------------------------------


def likely_words() -> bytes:
    """The preset dictionary of DEFLATE, the likeliest words last; a part of the format."""
    shapes = [shape for n in (16, 32, 128, 256, 384, 512, 768, 1024, 10, 64)
              for shape in ((n,), (n, n), (n,), (n, n))]  # fmt: skip
    quantizers = [f"{q}:{bits}" for q in ("affine", "codebook", "symmetric") for bits in (4, 8)]
    names = [f"layers.{n}.{what}" for order in (("weight", "bias"), ("bias", "weight"))
             for n in range(10) for what in order]  # fmt: skip
    texts = [*quantizers, "native", *names]
    return b"".join([_WORDS, *map(list_bytes, shapes), *map(text_bytes, texts)])


_WORDS = (
    b".gamma.beta.alpha.conv1.conv2.downsample.bn1.bn2.running_mean.running_var"
    b"num_batches_tracked.q_proj.k_proj.v_proj.o_proj.gate_proj.up_proj.down_proj.mlp.fc1.fc2"
    b"model.layers.0.transformer.h.0.blocks.0.lm_head.embed_tokens.pooler.dense.classifier"
    b"embeddings.word_embeddings.position_embeddings.token_type_embeddings.LayerNorm.norm"
    b"encoder.layer.0.attention.self.query.key.value.output.intermediate.dense.bias.weight"
)
