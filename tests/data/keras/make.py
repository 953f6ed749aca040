"""Writes the files here by Keras 3.15 (backend jax): python make.py, then commit what it writes.

``truth.json`` has the variables of each model by Keras's own paths, without the names of Sequential
models, and its ``count_params()``.
"""

import os
import pathlib
import sys

os.environ["KERAS_BACKEND"] = "jax"
import keras
import numpy as np
from keras.src.quantizers.quantizers import dequantize_with_sz_map

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from written import noted, pack, write_truth  # noqa: E402

layers = keras.layers


def small():
    """Batch normalization and Adam."""
    return keras.Sequential(
        [keras.Input((5,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)]
    )


def large():
    """Layers in layers, of many classes; names of the user's."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="stem")(image)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.Dropout(0.5)(x)
    inner = keras.Sequential(
        [layers.SeparableConv2D(5, 3), layers.LayerNormalization()], name="inner"
    )
    x = layers.Reshape((16, 5))(inner(x))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(image, layers.Dense(2, name="head")(x))


def trained(model, optimizer):
    """The model after a step."""
    model.compile(optimizer, "mse", metrics=["mae"])
    random = np.random.default_rng(0)
    into = random.normal(size=(4, *model.input_shape[1:]))
    model.fit(into, random.normal(size=(4, 2)), verbose=0)
    return model


def variables(model):
    """Every variable by its path; a Sequential model's own name is no part of it."""
    found = {}
    for variable in model.weights:
        path = variable.path.removeprefix(f"{model.name}/")
        found[path] = noted(keras.ops.convert_to_numpy(variable.value))
    return found


def write(model, name):
    """The model in one file."""
    path = HERE / name
    model.save_weights(path) if name.endswith(".weights.h5") else model.save(path)
    truth[name] = {"variables": variables(model), "count": model.count_params()}
    pack(path)


def quantized(mode):
    """Layers that Keras can quantize, with odd sides: two codes do not fill each byte."""
    einsum = layers.EinsumDense("abc,cd->abd", output_shape=(None, 3), bias_axes="d")
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), layers.Embedding(10, 7), layers.Dense(5), einsum]
    )
    config = keras.quantizers.Int4QuantizationConfig(block_size=None)
    model.quantize(mode.split("-")[0], config=config if mode == "int4-channel" else None)
    return model


def logical(model):
    """The weights that the codes of quantized layers stand for, by Keras's own functions."""
    found = {}
    for layer in model.layers:
        for variable in layer.weights:
            path = variable.path.removeprefix(f"{model.name}/")
            if variable.name in ("bias", "kernel", "embeddings"):
                found[path] = noted(meant(layer, variable))
    return found


def meant(layer, variable):
    """Codes as weights."""
    if keras.backend.standardize_dtype(variable.dtype) != "int8":
        return variable.numpy()
    codes, scale = getattr(layer, variable.name), getattr(layer, f"{variable.name}_scale")
    rows = variable.name == "embeddings"
    if hasattr(layer, "g_idx"):
        zero = getattr(layer, f"{variable.name}_zero")
        axis = -1 if rows else 0
        return np.asarray(dequantize_with_sz_map(codes, scale, zero, layer.g_idx, axis))
    codes, scale = np.asarray(codes).astype(np.float32), scale.numpy()
    return codes / (scale[:, None] if rows else scale.reshape(-1))


truth = {}
keras.utils.set_random_seed(0)
model = trained(small(), "adam")
for ending in (".keras", ".h5", ".weights.h5"):
    write(model, f"small{ending}")
model = trained(large(), "sgd")
for ending in (".keras", ".h5", ".weights.h5"):
    write(model, f"large{ending}")
keras.config.set_dtype_policy("bfloat16")
model = small()
for ending in (".keras", ".h5", ".weights.h5"):
    write(model, f"bfloat16{ending}")
keras.config.set_dtype_policy("float32")
for mode in ("int8", "int4", "int4-channel", "float8"):
    model = quantized(mode)
    for ending in (".keras", ".h5", ".weights.h5"):
        name = f"{mode}{ending}"
        if name == "int4-channel.weights.h5":  # without a description, the width is unknown
            continue
        write(model, name)
        truth[name] = {"variables": logical(model), "count": 10 * 7 + 7 * 5 + 5 + 5 * 3 + 3}
write_truth(HERE, truth)
