"""Ten ways to fool a measure of complexity: inputs that cost little or much for a trivial reason.

Each function makes the models of one attempt, by name, small enough for a test. What a naive
reading takes them for, and what is true, stands in its docstring.
"""

import numpy as np

SHAPES = {"fc1": (64, 96), "fc2": (64, 64), "fc3": (16, 64)}

Model = dict[str, np.ndarray]


def network(seed: int = 0) -> Model:
    """Normal weights, scaled as He et al. do; the biases are zero."""
    random, model = np.random.default_rng(seed), {}
    for name, (rows, columns) in SHAPES.items():
        weights = random.normal(size=(rows, columns)) * np.sqrt(2 / columns)
        model[f"{name}.weight"] = weights.astype(np.float32)
        model[f"{name}.bias"] = np.zeros(rows, np.float32)
    return model


def one_outlier() -> dict[str, Model]:
    """1. One weight of 20 σ in each tensor: fixed levels read it a third simpler. It is not."""
    model = network(1)
    for name in (f"{name}.weight" for name in SHAPES):
        model[name][3, 4] = 20 * model[name].std()
    return {"init": network(0), "outlier": model}


def outputs(model: Model, inputs: np.ndarray) -> np.ndarray:
    """What the network computes, with ReLU after each layer but the last."""
    values = inputs
    for number, name in enumerate(SHAPES):
        values = values @ model[f"{name}.weight"].T.astype(np.float64) + model[f"{name}.bias"]
        values = values if number + 1 == len(SHAPES) else np.maximum(values, 0)
    return values


def rescaled_neurons() -> dict[str, Model]:
    """2. Each ReLU neuron times a factor, its outgoing weights divided by it: the same function,
    which fixed levels read several times simpler."""
    plain, scaled = network(0), network(0)
    random = np.random.default_rng(2)
    for before, after in (("fc1", "fc2"), ("fc2", "fc3")):
        factors = np.exp(1.5 * random.normal(size=SHAPES[before][0]))
        scaled[f"{before}.weight"] *= factors[:, None].astype(np.float32)
        scaled[f"{before}.bias"] *= factors.astype(np.float32)
        scaled[f"{after}.weight"] /= factors.astype(np.float32)
    return {"plain": plain, "rescaled": scaled}


def row_and_column_scales() -> dict[str, Model]:
    """3. Noise times a scale for each row and each column: no arrangement beyond both."""
    random, model = np.random.default_rng(3), network(0)
    for name in (f"{name}.weight" for name in SHAPES):
        rows, columns = (np.exp(0.7 * random.normal(size=side)) for side in model[name].shape)
        model[name] = (model[name] * rows[:, None] * columns).astype(np.float32)
    return {"scaled": model}


def row_scales() -> dict[str, Model]:
    """4. Noise times a scale for each row: no arrangement beyond what each row holds."""
    random, model = np.random.default_rng(4), network(0)
    for name in (f"{name}.weight" for name in SHAPES):
        scales = np.exp(0.7 * random.normal(size=(len(model[name]), 1)))
        model[name] = (model[name] * scales).astype(np.float32)
    return {"scaled": model}


def bfloat16_in_float32() -> dict[str, Model]:
    """5. Weights rounded to bfloat16 in a file of float32: half of the bits are zero."""
    import ml_dtypes

    rounded = {
        name: w.astype(ml_dtypes.bfloat16).astype(np.float32) for name, w in network().items()
    }
    return {"plain": network(), "rounded": rounded}


def averages_in_the_file() -> dict[str, Model]:
    """6. Averages of the weights, and an exact copy, in the same file: half of it costs little."""
    model, noise = network(0), network(5)
    averages = {f"m2.{name}": 0.999 * w + 0.001 * noise[name] for name, w in model.items()}
    averages = {name: w.astype(np.float32) for name, w in averages.items()}
    return {"both": {**model, **averages, "fc2_again.weight": model["fc2.weight"].copy()}}


def masks_and_positions() -> dict[str, Model]:
    """7. A causal mask, and the numbers of positions, beside weights that nothing is to be seen
    in."""
    causal = np.tril(np.ones((1, 1, 96, 96), np.float32))
    numbers = np.arange(512, dtype=np.float32)[None]
    return {"buffers": {**network(0), "h.0.attn.causal": causal, "embeddings.numbers": numbers}}


def sorted_codebook() -> dict[str, Model]:
    """8. Sorted weights for a codebook that holds every one of them: its symbols cost little, the
    codebook itself nearly everything."""
    weights = np.sort(np.random.default_rng(1).normal(size=4096)).astype(np.float32)
    return {"sorted": {"w": weights.reshape(64, 64)}}


def dequantized(bits: int = 8, width: int = 32) -> dict[str, Model]:
    """9. Codes of 8 bits times a scale for each group of weights, saved as floats: 26 bits a weight
    for a code that sees no groups, where 8 and a scale suffice."""
    model = network(0)
    for name in (f"{name}.weight" for name in SHAPES):
        groups = model[name].reshape(-1, width)
        steps = np.abs(groups).max(axis=1, keepdims=True) / np.float32(2 ** (bits - 1) - 1)
        model[name] = (np.rint(groups / steps) * steps).reshape(model[name].shape)
    return {"dequantized": model}


def odd_distributions() -> dict[str, Model]:
    """10. Heavy tails, ties, zeros, many tiny tensors: odd values in no order at all."""
    random = np.random.default_rng(6)
    noise = random.normal(size=(64, 96))
    made = {
        "cauchy": random.standard_cauchy(size=(64, 96)),
        "uniform": random.uniform(-1, 1, size=(64, 96)),
        "sparse": noise * (random.random((64, 96)) < 0.5),
        "five levels": np.clip(np.rint(noise), -2, 2),
    }
    models = {name: {"w": weights.astype(np.float32)} for name, weights in made.items()}
    tiny = {f"w{n}": random.normal(size=(5, 5)).astype(np.float32) for n in range(20)}
    return {**models, "tiny tensors": tiny}
