"""Reports with a ledger, of models in memory."""

import dataclasses

from kolmo import analysis
from kolmo.options import Settings


def report_with_ledger(models, spectra=False, **options):
    """Checkpoints by name, measured by ``kt`` of signs alone."""
    settings = Settings.of({"estimators": ["kt"], "quantizers": ["sign"], "store": None, **options})
    plan = analysis.make_plan(settings, analysis.measurements_of(settings, 0))
    plan = dataclasses.replace(plan, ledger=True, spectra=spectra)
    opened = {name: settings.open(source) for name, source in models.items()}
    return analysis._measure(opened, plan, settings)


def facts_of(model, **options):
    """The records of a model's ledger, by tensor."""
    kept = report_with_ledger({"m": model}, **options).provenance["ledger"]
    return {record["tensor"]: record for record in kept["records"]}
