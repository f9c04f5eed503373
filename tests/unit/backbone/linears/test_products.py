"""Products with a fixed weight against the same arithmetic in float64, written out."""

import numpy as np
import pytest
import torch

from bothways.backbone.linears import products
from bothways.backbone.linears.products import Int8Product, kernel_levels, rounded_rows, rounded_weight


def by_hand(rows: torch.Tensor, weight: torch.Tensor, levels: int, terms: int) -> np.ndarray:
    """The product of rounded factors in float64, with a loop for each row's terms."""
    scale = np.abs(weight.numpy()).max(1).astype(np.float64) / 127
    whole = np.rint(weight.numpy() / scale[:, None])
    out = []
    for row in rows.numpy().astype(np.float64):
        step = np.abs(row).max() / levels
        first = np.floor(row / step + 0.5)
        read = first * step
        if terms == 2:
            read += np.floor((row - read) / step * 2 * levels + 0.5) * step / (2 * levels)
        out.append((whole @ read) * scale)
    return np.stack(out)


def material(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows + 100)  # no number halfway between two steps
    found = torch.randn(rows, 96, generator=generator)
    found[0, 5] = 400.0  # a massive activation
    return found, torch.randn(40, 96, generator=generator) * 0.1


@pytest.mark.parametrize("rows", [1, 2, 9, 70])
@pytest.mark.parametrize("terms", [1, 2])
def test_int8_is_the_product_of_the_rounded_factors(rows, terms):
    given, weight = material(rows)
    found = Int8Product(weight, terms)(given)
    assert found.dtype == torch.float32
    wanted = by_hand(given, weight, kernel_levels(), terms)
    # a number halfway between two steps may go either way in float32
    close = np.isclose(found.numpy(), wanted, rtol=1e-4, atol=1e-3 * np.abs(wanted).max(1, keepdims=True))
    assert close.mean() > 0.99
    assert np.abs(found.numpy() - wanted).max() < 0.02 * np.abs(wanted).max()


def test_a_second_term_keeps_the_small_numbers_next_to_a_massive_one():
    given, weight = material(9)
    whole, scale = rounded_weight(weight)
    exact = given.double() @ (whole.double() * scale[:, None].double()).T
    off = [(Int8Product(weight, terms)(given).double() - exact)[0].abs().max() for terms in (1, 2)]
    assert off[1] < off[0] / 50


@pytest.mark.parametrize("terms", [1, 2])
def test_a_second_term_of_the_weight_keeps_its_small_numbers(terms):
    given, weight = material(9)
    weight[:, 3] *= 100  # a massive weight
    exact = given.double() @ weight.double().T
    made = [Int8Product(weight, terms, weight_terms) for weight_terms in (1, 2)]
    off = [(each(given).double() - exact)[1:].norm() for each in made]
    assert off[1] < off[0] / (100 if terms == 2 else 2)
    assert made[1].bytes == 2 * made[0].bytes
    before = made[1](given)
    made[1].forget()
    assert torch.equal(made[1](given), before), "it is in use"
    made[1].weight_terms = 1
    made[1].forget()
    assert torch.equal(made[1](given), made[0](given)) and made[1].bytes == made[0].bytes


@pytest.mark.parametrize("levels", [127, 63])
def test_rounded_rows_stay_in_the_kernels_range(levels):
    found, scale = rounded_rows(torch.tensor([[3.0, -3.0, 0.0, 1.0]]), levels, 2)
    whole = found.to(torch.int64) - (levels + 1)
    assert whole[0].tolist()[:3] == [levels, -levels, 0] and whole.abs().max() <= levels
    assert torch.allclose((whole[0] + whole[1] / (2 * levels)) * scale[0], torch.tensor([3.0, -3.0, 0.0, 1.0]), atol=1e-3)


def test_the_form_for_cpus_without_vnni_gives_the_same_with_63_steps(monkeypatch):
    given, weight = material(9)
    monkeypatch.setattr(products, "kernel_levels", lambda: 63)
    found = Int8Product(weight, 2)(given).numpy()
    assert np.allclose(found, by_hand(given, weight, 63, 2), atol=2e-3 * np.abs(found).max())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_not_hidden(bad):
    given, weight = material(3)
    given[1, 7] = bad
    found = Int8Product(weight, 1)(given)
    assert not found[1].isfinite().any() and found[0].isfinite().all()


def test_rows_of_zeros_give_zeros():
    assert not Int8Product(torch.randn(8, 16), 2)(torch.zeros(3, 16)).any()
