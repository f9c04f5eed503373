"""A pass's random numbers come from its seed alone, and leave the program's own as they were."""

from __future__ import annotations

import hashlib

import pytest
import torch

from bothways.objectives.seeding import pass_seed, seeded


def test_seeds_are_the_documented_hash_and_fit_a_generator() -> None:
    """Written out once more, because another number would make old runs impossible to resume."""
    for seed, index in ((0, 0), (1, 2), (2, 1), (2**63 - 1, 10**6)):
        digest = hashlib.blake2b(f"pass/{seed}/{index}".encode(), digest_size=8).hexdigest()
        assert pass_seed(seed, index) == int(digest, 16) // 2
        torch.Generator().manual_seed(pass_seed(seed, index))
    assert pass_seed(0, 0) == 632673224111985412
    assert len({pass_seed(seed, index) for seed in range(30) for index in range(30)}) == 900


DEVICES = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_numbers_in_the_block_follow_the_seed_and_those_behind_it_do_not(device: torch.device) -> None:
    def drawn(before: int, seed: int) -> tuple[float, float]:
        torch.manual_seed(before)
        with seeded(seed, device):
            inside = float(torch.rand((), device=device))
        return inside, float(torch.rand((), device=device))

    torch.manual_seed(7)
    plain = float(torch.rand((), device=device))
    assert drawn(7, 1)[1] == drawn(7, 2)[1] == plain
    assert drawn(7, 1)[0] == drawn(8, 1)[0] != drawn(7, 2)[0]


def test_the_state_comes_back_after_an_error() -> None:
    torch.manual_seed(7)
    plain = torch.get_rng_state()
    with pytest.raises(ValueError, match="stop"), seeded(1, torch.device("cpu")):
        raise ValueError("stop")
    assert torch.equal(torch.get_rng_state(), plain)
