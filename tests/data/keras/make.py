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
write_truth(HERE, truth)
