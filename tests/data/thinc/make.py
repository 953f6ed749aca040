"""Write a model of thinc 9.1 and a pipeline of spaCy 3.8, and what is in them."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import spacy
from thinc.api import LayerNorm, Relu, Softmax, chain

HERE = Path(__file__).parent
EMBED = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": 6,
    "depth": 1,
    "embed_size": 7,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
}
TAGGER = {"@architectures": "spacy.Tagger.v2", "tok2vec": EMBED, "nO": None}


def arrays_of(model, prefix=""):
    nodes = enumerate(model.walk())
    return {
        f"{prefix}{number}.{node.name}.{name}": node.get_param(name)
        for number, node in nodes
        for name in node.param_names
        if node.has_param(name)
    }


def main():
    warnings.simplefilter("ignore")
    model = chain(Relu(4, 3), LayerNorm(4), Softmax(2, 4))
    model.initialize()
    (HERE / "model").write_bytes(model.to_bytes())
    np.savez_compressed(HERE / "model.npz", **arrays_of(model))
    nlp = spacy.blank("en")
    nlp.add_pipe("tok2vec", config={"model": EMBED})
    tagger = nlp.add_pipe("tagger", config={"model": TAGGER})
    nlp.add_pipe("sentencizer")
    for label in "ABC":
        tagger.add_label(label)
    nlp.vocab.vectors = spacy.vectors.Vectors(data=np.float32([[1, 2], [3, 4]]), keys=["a", "b"])
    doc = spacy.tokens.Doc(nlp.vocab, words=["a", "b"], tags=["A", "B"])
    nlp.initialize(lambda: [spacy.training.Example(doc, doc)])
    shutil.rmtree(HERE / "pipeline", ignore_errors=True)
    nlp.to_disk(HERE / "pipeline")
    for name in ("tokenizer", "vocab/lookups.bin", "vocab/strings.json", "vocab/lexemes.bin"):
        (HERE / "pipeline" / name).unlink(missing_ok=True)
    truth = {}
    for name in ("tok2vec", "tagger"):
        truth.update(arrays_of(nlp.get_pipe(name).model, f"{name}."))
    np.savez_compressed(HERE / "pipeline.npz", **truth)


if __name__ == "__main__":
    main()
