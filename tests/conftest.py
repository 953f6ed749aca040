"""Shared by all tests: one hypothesis profile, deterministic and without deadlines; no store of
results, which would answer in the place of what is tested."""

import os

from hypothesis import settings

collect_ignore_glob = [
    "data/*/write.py",
    "data/*/make.py",
]  # they import the libraries that own the formats

os.environ["KOLMO_STORE"] = "off"

settings.register_profile("kolmo", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("kolmo")


def pytest_addoption(parser):
    parser.addoption(
        "--remake-golden",
        action="store_true",
        help="write tests/golden anew, from what the code says now, instead of comparing",
    )
