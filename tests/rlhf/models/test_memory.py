"""How many rows are computed at once follows from sizes and a limit alone."""

from __future__ import annotations

import copy

from torch import nn

from rlkit.rlhf.models.memory import MEMORY_GB, Forecast, Sizes, duration, weight_bytes

# SmolLM2-135M.
SMALL = Sizes(30, 576, 192, 1536, 9, 49152)


def test_rows_fill_the_limit_and_are_at_least_one() -> None:
    rows = SMALL.rows_within(2.0, 128)
    assert 1.9e9 < rows * SMALL.row_bytes(128) <= 2e9
    assert SMALL.rows_within(1e-6, 128) == 1
    assert SMALL.rows_within(1.0, 128) == rows // 2
    # Keys and values, float32: 30 layers of 2 x 192 x 128.
    assert SMALL.row_bytes(128) > 4 * 30 * 2 * 192 * 128
    assert SMALL.row_bytes(128, gradient=True) > 20 * SMALL.row_bytes(128) / 2


def test_the_published_models_are_never_split() -> None:
    for width, layers in ((64, 2), (128, 4)):
        sizes = Sizes(layers, width, width, 4 * width, 4, 65)
        assert sizes.rows_within(MEMORY_GB, 32) >= 4096  # the most that a stage samples at once


def test_weights_that_are_trained_need_four_times_their_memory_and_shared_ones_count_once() -> None:
    first, second = nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False)
    second.weight.requires_grad_(False)
    assert weight_bytes([first]) == 1600
    assert weight_bytes([first, second, copy.copy(second)]) == 1600 + 400


def test_a_forecast_says_what_will_not_fit() -> None:
    forecast = Forecast(1_234_567, 3_100_000_000)
    assert forecast.text(40, None) == "40 updates with up to 1,234,567 tokens, in about 3.1 GB"
    assert forecast.text(40, 4_000_000_000).endswith("(4.0 GB are free)")
    assert "this will not fit; use a smaller batch_size or memory_gb" in forecast.text(40, 10**9)


def test_times_are_words() -> None:
    assert [duration(x) for x in (0.4, 89, 90, 5399, 5400)] == [
        *("0 s", "89 s", "2 min", "90 min", "1.5 h"),
    ]
