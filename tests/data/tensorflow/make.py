"""Writes ``files.tar.xz`` by TensorFlow 2.21: python make.py, then commit what it writes.

``truth.json`` has all variables by the keys that TensorFlow lists, of SavedModels and of what Keras
wrote by the names of the variables; and the number of parameters where Keras counts them.
"""

import os
import pathlib
import shutil
import sys
import tarfile
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
import tensorflow as tf

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from written import noted, write_truth  # noqa: E402

FOLDER = pathlib.Path(tempfile.mkdtemp()) / "files"
FOLDER.mkdir()
V1 = tf.compat.v1
DTYPES = "float64 float16 bfloat16 float8_e4m3fn float8_e5m2 int8 uint8 int16 uint16 uint32 uint64"


class Module(tf.Module):
    """Variables of many dtypes."""

    def __init__(self):
        self.w = tf.Variable(tf.random.normal((5, 3)), name="w")
        self.layers = [tf.Variable(tf.ones(2)), tf.Variable(tf.zeros((0, 3)))]
        self.others = {}
        for name in [*DTYPES.split(), "bool", "complex64"]:
            value = tf.cast(np.arange(6.0, dtype=np.float32).reshape(2, 3), name)
            self.others[name] = tf.Variable(value, name=name)
        self.text = tf.Variable("abc")


def listed(prefix):
    """The variables of a checkpoint, by TensorFlow's keys."""
    reader = tf.train.load_checkpoint(str(FOLDER / prefix))
    keys = [
        key for key in reader.get_variable_to_shape_map() if key != "_CHECKPOINTABLE_OBJECT_GRAPH"
    ]
    arrays = {key: reader.get_tensor(key) for key in keys}
    plain = {k: v for k, v in arrays.items() if not isinstance(v, bytes)}
    return {key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): noted(v) for key, v in plain.items()}


def graph():
    """TensorFlow 1: Adam, a variable in parts."""
    kernel = V1.get_variable("dense/kernel", (4, 3))
    bias = V1.get_variable("dense/bias", (3,), initializer=tf.zeros_initializer())
    parts = V1.get_variable("parts", (70, 4), partitioner=V1.fixed_size_partitioner(3))
    loss = sum(tf.reduce_sum(v) for v in (kernel, bias, tf.convert_to_tensor(parts)))
    step = V1.train.get_or_create_global_step()
    return V1.train.AdamOptimizer().minimize(loss, global_step=step)


tf.random.set_seed(0)
module, step = Module(), tf.Variable(3, dtype=tf.int64)
checkpoint = tf.train.Checkpoint(model=module, step=step)
for _ in range(2):
    checkpoint.save(str(FOLDER / "steps" / "ckpt"))
tf.saved_model.save(Module(), str(FOLDER / "saved"))
layers = keras.layers
model = keras.Sequential(
    [keras.Input((5,)), layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)]
)
random = np.random.default_rng(0)
model.compile("adam", "mse")
model.fit(random.normal(size=(8, 5)), random.normal(size=(8, 2)), verbose=0)
model.export(str(FOLDER / "exported"), verbose=False)
tf.saved_model.save(model, str(FOLDER / "keras-saved"))
tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(FOLDER / "keras" / "model"))
with tf.Graph().as_default():
    train = graph()
    with V1.Session() as session:
        session.run(V1.global_variables_initializer())
        session.run(train)
        V1.train.Saver().save(session, str(FOLDER / "one" / "model.ckpt"), global_step=1)
truth = {name: listed(name) for name in ("steps/ckpt-2", "steps/ckpt-1", "one/model.ckpt-1")}
truth["saved"] = listed("saved/variables/variables")
truth["keras"] = {variable.path: noted(variable.numpy()) for variable in model.weights}
truth["count"] = model.count_params()
with tarfile.open(HERE / "files.tar.xz", "w:xz", preset=9) as archive:
    archive.add(FOLDER, "files")
write_truth(HERE, truth)
shutil.rmtree(FOLDER.parent)
