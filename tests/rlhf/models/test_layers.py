"""Contexts that set the mode of a model, and random numbers that follow from a seed."""

from __future__ import annotations

import pytest
import torch

from rlkit.rlhf.models.layers import evaluating, torch_seeded


def test_evaluating_restores_the_mode_after_an_exception() -> None:
    module = torch.nn.Linear(1, 1).train()

    def fail() -> None:
        with evaluating(module):
            assert not module.training
            assert not torch.is_grad_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert module.training
    assert torch.is_grad_enabled()


def test_evaluating_restores_the_mode_of_each_part() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Sequential(torch.nn.Dropout()))
    module.eval()
    module[1].train()
    modes = [part.training for part in module.modules()]
    assert len(set(modes)) == 2
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == modes
    with pytest.raises(RuntimeError, match="inside"), evaluating(module):
        raise RuntimeError("inside")
    assert [part.training for part in module.modules()] == modes


def test_the_global_generator_comes_back_after_an_exception() -> None:
    def draw_and_fail() -> None:
        with torch_seeded(1):
            torch.rand(3)
            raise KeyError

    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        draw_and_fail()
    assert torch.equal(torch.get_rng_state(), before)
