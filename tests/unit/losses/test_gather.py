"""Two processes with N rows equal one process with 2 N: loss, and the gradient of every row."""

from __future__ import annotations

import socket

import pytest
import torch
import torch.distributed as dist

from bothways.losses.gather import gather_rows
from bothways.losses.infonce import info_nce
from warm import start

SIZES = (3, 2)  # ragged, as the last batch of an epoch


def views() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(sum(SIZES), 6, generator=generator, dtype=torch.float64) for _ in range(2))


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=len(SIZES))
    start = sum(SIZES[:rank])
    query, positive = (view[start : start + SIZES[rank]].clone().requires_grad_() for view in views())
    columns, offset = gather_rows(positive)
    loss = info_nce(query, columns, torch.arange(offset, offset + SIZES[rank]))
    loss.total.backward()
    torch.save((loss.total.detach(), query.grad, positive.grad), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch.distributed has no gloo backend here"
)
def test_two_processes_equal_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(process, (port, str(tmp_path)), len(SIZES))
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(SIZES))]
    query, positive = (view.requires_grad_() for view in views())
    whole = info_nce(query, positive, torch.arange(sum(SIZES))).total
    whole.backward()
    # float64 sums in another order
    torch.testing.assert_close(sum(part[0] for part in parts), whole.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), query.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat([part[2] for part in parts]), positive.grad, rtol=1e-12, atol=1e-12)


def test_one_process_is_the_identity():
    rows = torch.randn(3, 4)
    gathered = gather_rows(rows)
    assert gathered.rows is rows
    assert gathered.offset == 0
