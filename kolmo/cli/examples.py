"""Examples of every command, which its help ends with."""

from __future__ import annotations

EXAMPLES = {
    "analyze": (
        "kolmo analyze model.safetensors",
        "kolmo analyze hf://org/model --include '*mlp*' -o report.parquet --html report.html",
        "kolmo analyze model/ -q symmetric:4 -e context --null shuffled --draws 39",
        "kolmo analyze model.kmo --json --fail-if 'bits_per_weight > 8'",
    ),
    "calibrate": (
        "kolmo calibrate --quick",
        "kolmo calibrate -e bdm -e context -o calibration.md -o calibration.png",
    ),
    "compare": (
        "kolmo compare untrained=init.safetensors trained=run/model.safetensors",
        "kolmo compare 'runs/*/model.safetensors' -e context --null shuffled",
        "kolmo compare dense.safetensors run/weights.mosaic model.kmo",
    ),
    "curve": (
        "kolmo curve model.safetensors --shuffled --plot curve.png",
        "kolmo curve model/ --evaluate my.metric:loss --metric --plot loss.png -o files/",
    ),
    "delta": (
        "kolmo delta base.safetensors tuned.safetensors --null shuffled",
        "kolmo delta hf://org/base tuned/ --include '*attn*' --json",
    ),
    "demo": ("kolmo demo", "kolmo demo -o demo.html"),
    "estimators": ("kolmo estimators", "kolmo estimators --json"),
    "inspect": (
        "kolmo inspect model.gguf",
        "kolmo inspect hf://org/model --role buffer --all",
    ),
    "pack": (
        "kolmo pack model.safetensors -o model.kmo",
        "kolmo pack model/ -o small.kmo -q symmetric:4 --preset fast",
    ),
    "plot": (
        "kolmo analyze model.safetensors -o report.json; kolmo plot report.json -o figures",
        "kolmo plot report.parquet -o figures --format pdf",
        "kolmo plot report.json -o pages --interactive",
    ),
    "simplify": (
        "kolmo simplify model/ -o small.kmo --evaluate my.metric:accuracy --better higher",
        "kolmo simplify model.safetensors -o small.kmo --distortion 0.01",
        "kolmo simplify model/ -o small.kmo --evaluate my.metric:loss --inputs my.data:calibration",
    ),
    "trajectory": (
        "kolmo trajectory out/run -e context --relative --html run.html",
        "kolmo trajectory 'run/step-*.safetensors' --metrics metrics.csv -o series.json",
    ),
    "unpack": (
        "kolmo unpack model.kmo -o model.safetensors",
        "kolmo unpack model.kmo -o symbols/ --symbols",
    ),
    "verify": ("kolmo verify model.kmo", "kolmo verify model.kmo model.safetensors --json"),
}

STORE_EXAMPLES = {
    "ls": ("kolmo store ls", "kolmo store ls --json"),
    "prune": ("kolmo store prune --older-than 30d", "kolmo store prune --max-size 1GB"),
    "verify": ("kolmo store verify",),
}
