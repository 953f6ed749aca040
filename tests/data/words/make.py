"""Write word vectors by their own libraries: fasttext 0.9.2 and gensim 4.4."""

import tempfile
from pathlib import Path

import fasttext
import gensim
import numpy as np

HERE = Path(__file__).parent
TALE = "the cat sat on a mat and saw the red dog run to a big tree by our old house"
WORDS = TALE.split()
RANDOM = np.random.default_rng(0)
TEXT = "\n".join(
    f"__label__{'yes' if n % 2 else 'no'} " + " ".join(RANDOM.choice(WORDS, 8)) for n in range(60)
)


def write_fasttext(name, train, quantize=False, **options):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
        text.write(TEXT)
        text.flush()
        settings = {"dim": 6, "minCount": 1, "epoch": 1, "thread": 1, "verbose": 0, "lr": 0.01}
        model = _trained(train, text.name, {**settings, **options})
        if quantize:
            model.quantize(input=text.name, verbose=0, **quantize)
    model.save_model(str(HERE / name))
    arrays = _quantized(model) if quantize else _plain(model)
    np.savez_compressed(HERE / f"{name}.npz", **arrays)


def _plain(model):
    return {"input": model.get_input_matrix(), "output": model.get_output_matrix()}


def _quantized(model):
    """What tells the matrices of a quantized model: rows of words, and chances of labels."""
    lines = [" ".join(RANDOM.choice(WORDS, 5)) for _ in range(8)]
    chances = [dict(zip(*model.predict(line, k=2), strict=True)) for line in lines]
    return {
        "rows": np.array([model.get_input_vector(n) for n in range(len(model.get_words()))]),
        "hidden": np.array([model.get_sentence_vector(line) for line in lines]),
        "chances": np.array([[found[label] for label in model.get_labels()] for found in chances]),
    }


def _trained(train, text, settings):
    """A model; fastText starts from memory that it never wrote, and now and then from NaN."""
    for threads in range(1, 30):
        try:
            return train(text, **{**settings, "thread": threads})
        except RuntimeError:
            continue
    raise AssertionError("no training without NaN")


def main():
    write_fasttext("skipgram.bin", fasttext.train_unsupervised, minn=2, maxn=3, bucket=40)
    write_fasttext("plain.bin", fasttext.train_unsupervised, minn=0, maxn=0)
    write_fasttext("supervised.bin", fasttext.train_supervised, wordNgrams=2, bucket=30)
    cut = {"cutoff": 300, "retrain": False, "dsub": 2}
    write_fasttext(
        "quantized.ftz", fasttext.train_supervised, cut, wordNgrams=2, bucket=600, minn=2, maxn=3
    )
    normed = {**cut, "qnorm": True, "dsub": 4}
    write_fasttext(
        "normed.ftz", fasttext.train_supervised, normed, wordNgrams=2, bucket=600, minn=2, maxn=3
    )
    sentences = [line.split()[1:] for line in TEXT.split("\n")]
    model = gensim.models.Word2Vec(sentences, vector_size=5, min_count=1, workers=1, seed=1)
    model.wv.save_word2vec_format(str(HERE / "word2vec.bin"), binary=True)
    model.wv.save_word2vec_format(str(HERE / "word2vec.vec"), binary=False)
    model.wv.save_word2vec_format(str(HERE / "glove.txt"), binary=False, write_header=False)
    np.save(HERE / "word2vec.npy", model.wv.vectors)
    model.wv.save(str(HERE / "vectors.kv"))
    model.save(str(HERE / "word2vec.model"), sep_limit=1)
    np.savez(HERE / "word2vec.model.npz", syn1neg=model.syn1neg, vectors=model.wv.vectors)


if __name__ == "__main__":
    main()
