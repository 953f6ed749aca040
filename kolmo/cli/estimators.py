"""kolmo estimators: list the estimators and quantizers."""

from __future__ import annotations

from kolmo.cli.app import app, print_json
from kolmo.cli.options import Json
from kolmo.console import make_console
from kolmo.estimators import estimator_class, estimator_names
from kolmo.quantize import quantizer_class, quantizer_names


@app.command()
def estimators(json: Json = False) -> None:
    """List the estimators and quantizers."""
    from rich.table import Table

    classes = [(name, estimator_class(name)) for name in estimator_names()]
    if json:
        rows = [{"name": n, "kind": c.kind, "summary": c.summary} for n, c in classes]
        quantizers = [{"name": n, "summary": quantizer_class(n).summary} for n in quantizer_names()]
        print_json({"estimators": rows, "quantizers": quantizers})
        return
    table = Table("estimator", "kind", "what it is", box=None)
    for name, cls in classes:
        table.add_row(name, cls.kind, cls.summary)
    quantizer_table = Table("quantizer", "what it is", box=None)
    for name in quantizer_names():
        quantizer_table.add_row(name, quantizer_class(name).summary)
    console = make_console()
    console.print(table, "", quantizer_table)
    console.print(
        "\nSpecs: name[:value][,key=value...][@layout], as in zstd:19@shuffle or bdm,ndim=2; "
        "layouts are bytes, shuffle, packed, bitplanes.",
        markup=False,
    )
