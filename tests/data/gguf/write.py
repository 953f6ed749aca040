"""Write the GGUF files of this folder with gguf-py, and the weights that gguf-py reads in them.

pip install gguf==0.19.0
python write.py          # all files but version-1.gguf, and values.npz
pip install gguf==0.1.0
python write.py 1        # that one
"""

import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).parent
RANDOM = np.random.default_rng(14)
VALUES = {}


def normal(*shape):
    return (RANDOM.normal(size=shape) * 0.05).astype(np.float32)


def write(name, tensors, **options):
    """``tensors`` are names with an array, or with blocks and their type."""
    path = HERE / name
    writer = gguf.GGUFWriter(path, "llama", **options)
    writer.add_name("a small model")
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "a", "bc"])
    writer.add_array("tokenizer.ggml.scores", [0.0, -1.0, -2.5])
    for key, value in tensors.items():
        array, kind = value if isinstance(value, tuple) else (value, None)
        writer.add_tensor(key, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def keep(file, tensors):
    """Keep what gguf-py makes of the tensors; blocks are dequantized."""
    for name, value in tensors.items():
        with np.errstate(all="ignore"):
            VALUES[f"{file}/{name}"] = (
                gguf.dequantize(*value) if isinstance(value, tuple) else value
            )


def bfloat16(array):
    kind = gguf.GGMLQuantizationType.BF16
    return gguf.quantize(array, kind), kind


def every_type():
    """Blocks of random bytes of each type that gguf-py decodes."""
    tensors = {}
    for kind in gguf.GGMLQuantizationType:
        weights, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = RANDOM.integers(0, 256, (2, 2 * size), dtype=np.uint8)
        if weights == 1:
            continue
        try:
            with np.errstate(all="ignore"):
                gguf.dequantize(blocks, kind)
        except NotImplementedError:
            continue
        tensors[kind.name] = blocks, kind
    return tensors


def plain():
    return {
        "F32": normal(3, 4, 5),
        "F16": normal(7).astype(np.float16),
        "BF16": bfloat16(normal(6, 8)),
        "F64": normal(2, 3).astype(np.float64),
        **{f"I{n}": RANDOM.integers(-99, 99, (2, 5)).astype(f"i{n // 8}") for n in (8, 16, 32, 64)},
    }


def quantized(names):
    kinds = {name: gguf.GGMLQuantizationType[name] for name in names}
    return {k: (gguf.quantize(normal(4, 256), kind), kind) for k, kind in kinds.items()}


def newer():
    sets = {
        "plain.gguf": plain(),
        "every-type.gguf": every_type(),
        "quantized.gguf": quantized(["Q4_0", "Q8_0", "MXFP4"]),
    }
    for name, tensors in sets.items():
        write(name, tensors)
        keep(name, tensors)
    write("big-plain.gguf", sets["plain.gguf"], endianess=gguf.GGUFEndian.BIG)
    write("big-as-written.gguf", sets["quantized.gguf"], endianess=gguf.GGUFEndian.BIG)
    converted = shutil.copy(HERE / "quantized.gguf", HERE / "big-converted.gguf")
    subprocess.run(["gguf-convert-endian", converted, "big"], input="YES", text=True, check=True)
    split = {f"blk.{n}.weight": normal(4, 8) for n in range(5)}
    write("split.gguf", split, split_max_tensors=2)
    keep("split.gguf", split)
    np.savez_compressed(HERE / "values.npz", **VALUES)


def version_1():
    writer = gguf.GGUFWriter(str(HERE / "version-1.gguf"), "llama", use_temp_file=False)
    writer.add_name("a small model")
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "a", "bc"])
    ramp = np.arange(60, dtype=np.float32)
    writer.add_tensor("ramp", ramp.reshape(3, 4, 5))
    writer.add_tensor("half", ramp.astype(np.float16)[:7])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


version_1() if sys.argv[1:] == ["1"] else newer()
