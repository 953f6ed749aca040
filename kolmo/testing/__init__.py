'''What estimators, quantizers and codes promise, as checks for those who write their own.

::

    check_estimator(spec or object)     every promise of an estimator, or ContractError
    check_quantizer(spec or object)     ... of a quantizer
    check_code(name, number or object)  ... of a code
    estimator_checks(), quantizer_checks(), code_checks()    the same, one by one, by name

A check is deterministic. It raises `ContractError`, an AssertionError that says what breaks which
promise, and for which case: shapes, alphabet, dtype, content and seed.

A plugin is a package with an entry point in the group ``kolmo.estimators``, by the name that its
class has; nothing else registers it. In its ``pyproject.toml``::

    [project.entry-points."kolmo.estimators"]
    fixed-width = "my_package:FixedWidth"

and in its tests, one a check::

    import pytest
    from kolmo.testing import estimator_checks

    @pytest.mark.parametrize(("name", "check"), estimator_checks())
    def test_contract(name, check):
        check("fixed-width")

Quantizers have a group of their own, ``kolmo.quantizers``, and nulls have ``kolmo.nulls``. Codes
have none, for what a file holds must be read everywhere; `kolmo.codes.base.register_code` makes
one known.

Examples
--------
An estimator that is not installed yet is known for as long as it is tested. This one, a whole
plugin, is `kolmo.testing.example`:

>>> from kolmo import Alphabet
>>> from kolmo.testing.example import FixedWidth
>>> with registered(FixedWidth):
...     check_estimator("fixed-width")

One that tells a decoder too little is found out:

>>> import dataclasses
>>> class HalfWidth(FixedWidth):
...     """Half as many bits; said to be a bound."""
...     name = "half-width"
...     def _start(self, shapes, alphabet):
...         return super()._start(shapes, Alphabet(max(1, alphabet.size // 2)))
>>> checks = dict(estimator_checks())
>>> checks["a bound obeys Kraft's inequality"](HalfWidth())
Traceback (most recent call last):
    ...
kolmo.errors.ContractError: half-width breaks "a bound obeys Kraft's inequality", ...
'''

from kolmo.errors import ContractError
from kolmo.testing.access import registered
from kolmo.testing.codes import check_code, code_checks
from kolmo.testing.estimators import check_estimator, estimator_checks
from kolmo.testing.quantizers import check_quantizer, quantizer_checks

__all__ = [
    "ContractError",
    "check_code",
    "check_estimator",
    "check_quantizer",
    "code_checks",
    "estimator_checks",
    "quantizer_checks",
    "registered",
]
