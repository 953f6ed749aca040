"""Files of ggml before GGUF, as the converters of each program wrote them."""

import struct

import numpy as np


def word(*numbers):
    return struct.pack(f"<{len(numbers)}I", *numbers)


def texts(words, scored=False):
    tail = struct.pack("<f", -1.5) if scored else b""
    return b"".join(word(len(text)) + text + tail for text in words)


def tensors(arrays, aligned_from=None):
    """``arrays`` are names with (row-major shape, type, bytes); where they begin, if aligned."""
    made = b""
    for name, (shape, kind, data) in arrays.items():
        text = name.encode()
        made += word(len(shape), len(text), kind, *shape[::-1]) + text
        if aligned_from is not None:
            made += bytes(-(aligned_from + len(made)) % 32)
        made += data
    return made


WORDS = [b"<unk>", b"a", b"bc", b"\xe4\xb8", b"", b" the"]


def llama(arrays, magic=b"tjgg", version=3, kind=1):
    """llama.cpp of 2023: ggml, ggmf, ggjt."""
    scored = magic != b"lmgg"
    head = magic + (word(version) if scored else b"")
    head += word(len(WORDS), 64, 32, 4, 2, 16, kind) + texts(WORDS, scored)
    return head + tensors(arrays, len(head) if magic == b"tjgg" else None)


def lora(arrays):
    head = b"algg" + word(1, 8, 16)
    return head + tensors(arrays, len(head))


def gpt2(arrays, kind=1):
    """The vocabulary is counted twice: in the numbers and before it."""
    head = b"lmgg" + word(len(WORDS), 1024, 64, 4, 2, kind, len(WORDS)) + texts(WORDS)
    return head + tensors(arrays)


def neox(arrays, kind=1):
    """The vocabulary is counted by the first number."""
    return b"lmgg" + word(len(WORDS), 2048, 64, 4, 2, 16, 1, kind) + texts(WORDS) + tensors(arrays)


def mpt(arrays, kind=1):
    """The vocabulary is counted by a number in the middle; some numbers are floats."""
    head = b"lmgg" + word(64, 2048, 4, 2, len(WORDS)) + struct.pack("<ff", 8, 0) + word(kind)
    return head + texts(WORDS) + tensors(arrays)


def whisper(arrays, kind=1):
    """Filters stand before the vocabulary, of which the last words are not stored."""
    head = b"lmgg" + word(51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, kind)
    filters = np.arange(80 * 201, dtype="<f4").tobytes()
    return head + word(80, 201) + filters + word(len(WORDS)) + texts(WORDS) + tensors(arrays)


def rwkv(arrays, version=101):
    """No vocabulary."""
    return b"fmgg" + word(version, 50277, 64, 2, 1) + tensors(arrays)
