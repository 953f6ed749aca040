"""Torch files, pickles and joblib files: read as data, right, without the libraries they are of."""

import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16, float8_e5m2

import kolmo
from kolmo.checkpoints import allowance, stored, views
from kolmo.checkpoints.inert import Record
from kolmo.checkpoints.machine import Machine, PickleError, PickleReader
from kolmo.checkpoints.opening import open_source
from kolmo.checkpoints.pickles import load_pickle
from kolmo.checkpoints.rebuilding import PYTHON
from kolmo.checkpoints.stored import Storage, Strided, memory_bytes
from kolmo.errors import InputError
from tests.corpus.pickled import ARRAYS, CASES, WEIGHTS, dumped, normal, saved, state_dict, write

ROOT = Path(__file__).parent.parent


def native(array):
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def digest(name, array):
    array = native(array)
    return [name, array.dtype.name, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


# --- what is read ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # libraries warn of what they write
@pytest.mark.parametrize("name", CASES)
def test_every_form_gives_its_arrays(tmp_path, name):
    path, arrays = write(name, tmp_path)
    found = open_source(path)
    names = list(found)
    if name == "torch_script_frozen":  # a frozen program has its weights as constants
        names = [f"?{key.removeprefix('constants.')}" for key in names]
    read = [digest(n, tensor.read()) for n, tensor in zip(names, found.values(), strict=True)]
    assert sorted(read) == sorted(digest(n, array) for n, array in arrays.items())
    for tensor in found.values():
        chunks = [chunk.tobytes() for chunk in tensor.chunks(7)]
        assert b"".join(chunks) == tensor.read().tobytes()


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "joblib", "sklearn", "pytorch_lightning"):
            raise ImportError(f"{name} is missing")
sys.meta_path.insert(0, Missing())
import json, hashlib, pathlib, kolmo
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    found = kolmo.open_checkpoint(path)
    skipped = [[s.name, s.reason, s.numel] for s in found.skipped]
    hashes = [[n, hashlib.sha256(t.read().tobytes()).hexdigest()] for n, t in found.items()]
    print(json.dumps([path.name, hashes, skipped]))
assert "torch" not in sys.modules and "pickle" in sys.modules
"""


@pytest.mark.filterwarnings("ignore")
def test_no_library_is_needed_or_imported(tmp_path):
    for name in CASES:
        write(name, tmp_path)
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(CASES)
    for file, hashes, skipped in lines:
        found = kolmo.open_checkpoint(tmp_path / file)
        ours = [[n, hashlib.sha256(t.read().tobytes()).hexdigest()] for n, t in found.items()]
        assert [hashes, skipped] == [ours, [[s.name, s.reason, s.numel] for s in found.skipped]]


def skipped(path):
    return {
        entry.name: (entry.reason, entry.numel) for entry in kolmo.open_checkpoint(path).skipped
    }


@pytest.mark.filterwarnings("ignore")
def test_one_odd_tensor_leaves_out_itself_alone(tmp_path):
    path, _ = write("torch_odd", tmp_path)
    assert skipped(path) == {
        "conjugate": ("a conjugate view is not supported", 24),
        "bits": ("dtype bits8 is not supported", 24),
        "coo": ("a sparse_coo tensor, of which 11 entries are stored", 24),
        "csr": ("a sparse_csr tensor, of which 11 entries are stored", 24),
        "meta": ("a meta tensor: it has no values", 24),
        "nested": ("a nested (ragged) tensor", 24),
    }


def test_a_pickled_module_is_its_state_dict(tmp_path):
    path, arrays = write("torch_module", tmp_path)
    assert list(open_source(path)) == list(arrays)
    assert list(kolmo.open_checkpoint(path)) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    left = skipped(path)
    assert left["scratch"] == ("a buffer that the module does not save (it is not persistent)", 7)
    assert left["note"] == ("an attribute of a module, neither a parameter nor a buffer", 2)


def test_a_fitted_model_is_its_coefficients(tmp_path):
    path, _ = write("sklearn_mlp", tmp_path)
    assert list(kolmo.open_checkpoint(path)) == [
        "coefs_.0",
        "coefs_.1",
        "intercepts_.0",
        "intercepts_.1",
    ]
    assert skipped(path)["_label_binarizer.classes_"] == ("beside the fitted model's weights", 3)


def test_one_storage_under_many_names_counts_once(tmp_path):
    w = torch.from_numpy(normal(6, 4))
    contents = {"a": w, "b": w, "transposed": w.t(), "flat": w.reshape(-1), "half": w[:3]}
    path = tmp_path / "x.pt"
    torch.save(contents, path)
    assert list(kolmo.open_checkpoint(path)) == ["a"]
    assert skipped(path)["transposed"] == ("tied to 'a', counted once", 24)
    assert skipped(path)["half"] == ("a view into 'a', counted there", 12)


def test_names_that_fall_together_are_told_apart(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(
        pickle.dumps({"a.b": normal(2), "a": {"b": normal(3)}, 1: normal(4), "1": normal(5)})
    )
    found = kolmo.open_checkpoint(path)
    assert {n: t.numel for n, t in found.items()} == {"a.b": 2, "a.b (2)": 3, "1": 4, "1 (2)": 5}


def test_a_big_endian_file_is_turned(tmp_path):
    path, source = tmp_path / "x.pt", tmp_path / "y.pt"
    torch.save(state_dict(), source)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            record = old.read(info)
            if info.filename.endswith("/byteorder"):
                record = b"big"
            if "/data/" in info.filename:
                record = np.frombuffer(record, "<f4").astype(">f4").tobytes()
            new.writestr(info.filename, record)
    found = kolmo.open_checkpoint(path)
    assert all((found[name].read() == array).all() for name, array in WEIGHTS.items())


# --- strides --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_strided_arrays_are_what_numpy_says(data):
    shape = data.draw(st.lists(st.integers(0, 6), max_size=4))
    strides = data.draw(st.lists(st.integers(0, 40), min_size=len(shape), max_size=len(shape)))
    offset = data.draw(st.integers(0, 9))
    ends = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    memory = np.random.default_rng(0).normal(size=offset + max(0, sum(ends)) + 1)
    memory = memory.astype(data.draw(st.sampled_from([np.float32, bfloat16, float8_e5m2])))
    rises = [np.arange(n) * s for n, s in zip(shape, strides, strict=True)]
    wanted = memory[offset + sum(np.ix_(*rises))]
    storage = Storage(memory_bytes(memory.tobytes(), "memory"))
    array = Strided(storage, memory.dtype, tuple(shape), tuple(strides), offset)
    start = data.draw(st.integers(0, wanted.size))
    stop = data.draw(st.integers(start, wanted.size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "_SPAN", data.draw(st.sampled_from([4, 64, 1 << 20])))
        patch.setattr(views, "_GAP", data.draw(st.sampled_from([4, 16, 4096])))
        patch.setattr(views, "_BLOCK", data.draw(st.sampled_from([1, 64, 1000])))
        assert array.load(start, stop).tobytes() == wanted.ravel()[start:stop].tobytes()


def of_zeros(size, shape, strides):
    """A view of zeros, and the numbers of bytes that were read of them."""
    read = []

    def fetch(offset, size):
        read.append(size)
        return bytes(size)

    storage = Storage(stored.Stored(fetch, 0, size, "zeros"))
    return Strided(storage, np.dtype(np.float32), shape, strides, 0), read


def test_a_transposed_matrix_is_read_once_in_whatever_pieces():
    rows, columns, piece = 3000, 4096, 1 << 16
    array, read = of_zeros(4 * rows * columns, (columns, rows), (1, columns))
    for at in range(0, array.numel, piece):
        assert array.load(at, min(at + piece, array.numel)).any() == 0
    assert sum(read) == 4 * array.numel
    assert len(read) <= 4 * rows  # blocks


def test_entries_that_lie_far_apart_are_read_alone():
    array, read = of_zeros(1 << 40, (1 << 18, 2), (1 << 20, 1 << 19))
    assert array.load(0, 5000).size == 5000
    assert sum(read) == 5000 * 4


# --- opcodes --------------------------------------------------------------------------------


def load(data, table=PYTHON):
    return load_pickle(Machine(PickleReader(memory_bytes(data, "a pickle")), table))


VALUES = [
    None, True, False, 0, 1, 255, 256, -1, 2**31, -(2**70), 1.5, -0.0, float("inf"),
    "", "abc", "ü\n'",
    b"", b"abc", b"\x00\xff" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1, [2]], {},
    {"a": {1: (2,)}}, set(), {1, "a"}, frozenset([1]), bytearray(b"xy"), 2 + 1j,
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol):
    for value in VALUES:
        assert repr(load(pickle.dumps(value, protocol))) == repr(
            bytes(value) if isinstance(value, bytearray) else value
        )


def test_values_of_before_1_6_are_little_endian_whatever_machine_wrote_them(tmp_path):
    """torch turned them round where it wrote, and notes the machine's own order beside them."""
    import torch

    file = io.BytesIO()
    torch.save({"w": torch.arange(4.0)}, file, _use_new_zipfile_serialization=False)
    other = file.getvalue().replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89")
    assert other != file.getvalue()
    (tmp_path / "old.pth").write_bytes(other)
    assert torch.load(tmp_path / "old.pth")["w"].tolist() == [0, 1, 2, 3]
    assert kolmo.open_checkpoint(tmp_path / "old.pth")["w"].read().tolist() == [0, 1, 2, 3]


def of_python_2(name, values):
    """What cPickle of Python 2 writes of {name: numpy.array(values, "<f4")}, by protocol 2."""
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\1b\x87R"
    dtype = b"cnumpy\ndtype\nU\2f4K\0K\1\x87R(K\3U\1<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    data = np.array(values, "<f4").tobytes()
    state = b"(K\1K" + bytes([len(values)]) + b"\x85" + dtype + b"\x89U" + bytes([len(data)])
    return b"\x80\2}U" + bytes([len(name)]) + name + head + state + data + b"tbs."


@pytest.mark.parametrize(
    ("name", "text"), [(b"caf\xc3\xa9", "café"), (b"caf\xe9", "café"), (b"\xff\xfe", "ÿþ")]
)
def test_texts_of_python_2_are_utf_8_as_torch_takes_them_and_bytes_to_arrays(tmp_path, name, text):
    for data in (b"\xc3\xa9AB", b"\xff\xa9AB"):  # values that are UTF-8 by chance, and that are not
        (tmp_path / "old.pkl").write_bytes(of_python_2(name, np.frombuffer(data, "<f4")))
        (tensor,) = kolmo.open_checkpoint(tmp_path / "old.pkl").values()
        assert tensor.name == text
        assert tensor.read().tobytes() == data


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_unknown_is_kept_and_never_made(protocol):
    found = load(pickle.dumps({"path": Path("/x"), "call": Attack()}, protocol))
    assert isinstance(found["call"], Record)
    assert (found["call"].name, found["call"].args) == ("posix.system", ("touch /tmp/kolmo-ran",))
    assert isinstance(found["path"], Record)
    assert not os.path.exists("/tmp/kolmo-ran")


class Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/kolmo-ran",)


def claims(opcode, size, width):
    return b"\x80\x04" + opcode + size.to_bytes(width, "little") + b"x."


BAD = {
    "an early end": (b"\x80\x04}", "ends early"),
    "nothing": (b"\x80\x04.", "stops without a value"),
    "no such opcode": (b"\x80\x04\xff.", "unknown opcode 0xff"),
    "a protocol to come": (b"\x80\x07N.", "protocol 7 is not known"),
    "a huge text": (claims(b"\x8d", 2**62, 8), "bytes are claimed"),
    "huge bytes": (claims(b"\x8e", 2**62, 8), "bytes are claimed"),
    "a huge array of bytes": (claims(b"\x96", 2**63, 8), "bytes are claimed"),
    "a huge number": (claims(b"\x8b", 2**31 - 1, 4), "a number of 2,147,483,647 bytes"),
    "many digits": (b"I" + b"9" * 5000 + b"\n.", "a number of 5,000 digits"),
    "a memo that is none": (b"\x80\x04h\x07.", "it recalls entry 7"),
    "no mark": (b"\x80\x04Nu.", "IndexError"),
    "a key alone": (b"\x80\x04}(Nu.", "a key without a value"),
    "entries of a number": (b"\x80\x04K\x01NNs.", "no mapping"),
    "names that are numbers": (b"\x80\x04K\x01K\x02\x93.", "a name that is no text"),
    "copies of copies": (
        b"\x80\x02]q\x00(" + b"N" * 5000 + b"e0("
        + b"cbuiltins\nlist\nh\x00\x85R" * 500 + b"l.",
        "items to look at",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_pickles_are_refused_at_once(name):
    data, message = BAD[name]
    with pytest.raises((PickleError, InputError), match=message):
        load(data)


def test_objects_are_counted(monkeypatch):
    monkeypatch.setattr(allowance, "ITEMS", 4000)
    assert len(load(b"(" + b"}" * 999 + b"l.")) == 999
    with pytest.raises(InputError, match="items to look at"):
        load(b"(" + b"}" * 1101 + b"l.")


def test_keys_cost_little_however_they_are_chosen():
    modulus = 2**61 - 1  # Python's hash of an integer is its rest by this: all of these collide
    keys = b"".join(pickle.dumps(modulus * n, 2)[2:-1] + b"N" for n in range(1, 20_000))
    assert len(load(b"\x80\x02}(" + keys + b"u.")) == 19_999
    tuples = b"N\x85q\x000" + b"h\x00h\x00\x86q\x000" * 60  # a key of 2^60 leaves
    assert len(load(b"\x80\x02}(" + tuples + b"h\x00Nu.")) == 1


# --- messages -------------------------------------------------------------------------------


def zipped(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def cut(data, size):
    return data[:-size]


MESSAGES = {
    "a pickle of settings": (
        pickle.dumps({"lr": 0.1, "name": "x"}),
        "a Python pickle with no arrays in it; it holds: 'lr', 'name'",
    ),
    "a pickled attack": (
        pickle.dumps(Attack()),
        "a Python pickle with no arrays in it; it holds: a call of 'posix.system', which was not",
    ),
    "a torch file of settings": (
        saved({"lr": 0.1}),
        "a torch file with no arrays in it; it holds: 'lr'",
    ),
    "only bits": (
        saved({"c": torch.zeros(3, dtype=torch.uint8).view(torch.bits8)}),
        "a torch file with no arrays in it that can be measured ('c': dtype bits8 is not supported",
    ),
    "a cut pickle": (
        cut(pickle.dumps(WEIGHTS), 300),
        "a Python pickle that is damaged or truncated (it ends early",
    ),
    "a cut torch file": (cut(saved(state_dict()), 500), "a damaged or truncated zip archive"),
    "a cut legacy file": (
        cut(saved(state_dict(), _use_new_zipfile_serialization=False), 20),
        "for it; it is damaged or truncated",
    ),
    "a cut joblib file": (cut(dumped(ARRAYS), 10_000), "a joblib file that is damaged or trunc"),
    "a cut gzip": (
        cut(dumped(ARRAYS, compress=("gzip", 3)), 1000),
        "a gzip file that is damaged or truncated",
    ),
    "a broken lz4": (b"\x04\x22\x4d\x18" + bytes(100), "a lz4 file that is damaged or truncated"),
    "joblib of 2015": (
        b"ZF0x19                x\x9c" + bytes(100),
        "a compressed joblib file of before 0.10, which is not read; load it with joblib",
    ),
    "a compressed torch file": (
        b"",
        "is compressed, which torch never does; unpack the archive and pack it again without",
    ),
    "two models": (
        zipped({"a/data.pkl": b"N.", "b/data.pkl": b"N."}),
        "a torch file has one record data.pkl, this has 2: 'a/data.pkl', 'b/data.pkl'",
    ),
    "a missing storage": (
        zipped(
            {
                "a/data.pkl": zipfile.ZipFile(io.BytesIO(saved(state_dict()))).read(
                    "archive/data.pkl"
                )
            }
        ),
        "record 'a/data/0' is missing; it is damaged",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_refusals_say_what_it_is_and_what_helps(tmp_path, name):
    data, message = MESSAGES[name]
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    if name == "a compressed torch file":
        source = io.BytesIO(saved(state_dict()))
        with (
            zipfile.ZipFile(source) as old,
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
        ):
            for info in old.infolist():
                new.writestr(info.filename, old.read(info))
    with pytest.raises(InputError) as caught:
        kolmo.open_checkpoint(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300


# --- hostile files --------------------------------------------------------------------------

BOUNDED = """
import json, pathlib, resource, sys
from tests.fuzz.limits import limit_memory
from tests.fuzz.reading import read
import kolmo
limit_memory()
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        read(path)
        print(json.dumps([path.name, kolmo.open_checkpoint(path).numel]))
    except kolmo.errors.KolmoError as error:
        print(json.dumps([path.name, str(error)]))
"""


def bombs(folder):
    """Small files that would be large, or take long, if what they claim were believed."""
    zeros = joblib.dump(np.zeros(1 << 22), folder / "zeros.joblib", compress=("zlib", 9))
    assert os.path.getsize(zeros[0]) < 40_000
    (folder / "lists.pkl").write_bytes(b"\x80\x02" + b"]" * 300_000 + b"a" * 299_999 + b".")
    key = b"X" + struct.pack("<I", 900) + b"k" * 900 + b"q\x000"
    leaves = b"(" + b"N" * 50 + b"l"
    nest = b"}(h\x00" * 30_000 + leaves + b"u" * 30_000
    (folder / "names.pkl").write_bytes(b"\x80\x02" + key + nest + b".")
    begin = b"cx.nn\nModule\n)\x81}(U\x0b_parameters}U\x08_modules}(U\x01m"
    modules = begin * 5000 + b"N" + b"uub" * 5000
    (folder / "modules.pkl").write_bytes(b"\x80\x02" + modules + b".")


def test_bombs_do_not_go_off(tmp_path):
    bombs(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert found.pop("zeros.joblib") == 1 << 22
    assert "characters of names and texts, far more than a checkpoint" in found.pop("names.pkl")
    assert "no arrays in it" in found.pop("lists.pkl")
    assert "no arrays in it" in found.pop("modules.pkl")
    assert found == {}


def test_several_archives_in_one_file_are_no_model(tmp_path):
    """Shards of a distributed checkpoint: the directory at the end lists the last archive only."""
    shard = tmp_path / "__0_0.distcp"
    parts = []
    for number in range(2):
        torch.save({f"w{number}": torch.ones(3)}, tmp_path / "part.pt")
        parts.append((tmp_path / "part.pt").read_bytes())
    shard.write_bytes(b"".join(parts))
    with pytest.raises(InputError, match="distributed checkpoint"):
        kolmo.open_checkpoint(shard)
