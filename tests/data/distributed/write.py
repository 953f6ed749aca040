"""Writes the distributed checkpoint beside it: two processes, tensors cut in several ways.

python tests/data/distributed/write.py
"""

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

HERE = Path(__file__).parent


def tensors():
    """The whole tensors, the same wherever they are made."""
    torch.manual_seed(3)
    return {
        "rows": torch.randn(5, 3),
        "columns": torch.randn(4, 5).bfloat16(),
        "middle": torch.randn(2, 3, 4),
        "same": torch.randn(6).half(),
        "scalar": torch.tensor(0.5),
        "few": torch.randn(1, 3),  # fewer rows than ranks
    }


CUTS = {"rows": Shard(0), "columns": Shard(1), "middle": Shard(1), "same": Replicate(),
        "scalar": Replicate(), "few": Shard(0)}  # fmt: skip


def write(rank, store):
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    model = {n: distribute_tensor(t, mesh, [CUTS[n]]) for n, t in tensors().items()}
    moments = {n: distribute_tensor(t.float() ** 2, mesh, [CUTS[n]]) for n, t in tensors().items()}
    state = {
        "model": model,
        "optimizer": {"state": {"rows": {"exp_avg": moments["rows"], "step": torch.tensor(7.0)}}},
        "lr_scheduler": {"last_epoch": 3},
        "step": 7,
    }
    dcp.save(state, checkpoint_id=HERE / "step-7")
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(write, (f"{folder}/store",), nprocs=2)
