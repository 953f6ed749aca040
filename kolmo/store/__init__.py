"""A store of results, so that what was measured once need not be measured again."""

from kolmo.store.keys import ResultKey, Subject, make_key, record_key
from kolmo.store.memory import RunMemory
from kolmo.store.places import default_path
from kolmo.store.store import Store, open_store

__all__ = [
    "ResultKey",
    "RunMemory",
    "Store",
    "Subject",
    "default_path",
    "make_key",
    "open_store",
    "record_key",
]
