"""Writes the files of this folder with Paddle, and the parameters that it has.

python write.py        # needs paddlepaddle, numpy
"""

import os
import pathlib

import numpy as np
import paddle
from paddle import nn

HERE = pathlib.Path(__file__).parent


def network():
    paddle.seed(0)
    return nn.Sequential(
        nn.Conv2D(2, 3, 3), nn.BatchNorm2D(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
    )


def main():
    made = network()
    made.eval()
    spec = [paddle.static.InputSpec([1, 2, 4, 4], "float32")]
    if os.environ.get("FLAGS_enable_pir_api") == "0":  # noqa: SIM112, Paddle's own name
        paddle.jit.save(made, str(HERE / "program"), input_spec=spec)
        return
    truth = {key: value.numpy() for key, value in made.state_dict().items()}
    paddle.save(made.state_dict(), str(HERE / "state.pdparams"))
    paddle.save({"model": made.state_dict(), "epoch": 3}, str(HERE / "nested.pdparams"))
    adam = paddle.optimizer.Adam(parameters=made.parameters())
    made(paddle.ones([1, 2, 4, 4])).sum().backward()
    adam.step()
    paddle.save(adam.state_dict(), str(HERE / "state.pdopt"))
    made.set_state_dict({key: paddle.to_tensor(value) for key, value in truth.items()})
    names = {key: value.name for key, value in made.state_dict().items()}
    paddle.jit.save(made, str(HERE / "json"), input_spec=spec)
    np.savez_compressed(
        HERE / "truth.npz",
        **truth,
        **{f"named/{names[key]}": value for key, value in truth.items()},
    )


if __name__ == "__main__":
    main()
