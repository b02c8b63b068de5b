"""The estimate of a model's memory, and what is available."""

from __future__ import annotations

import pytest

from rlkit.tabular import memory
from rlkit.tabular.memory import available_bytes, require_memory


def test_the_available_memory_is_known_here() -> None:
    available = available_bytes()
    assert available is not None
    assert 10**7 < available < 10**14


@pytest.mark.trap("F70")
def test_a_model_is_rejected_only_where_it_needs_more_than_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 85 * 10**6)
    require_memory("a model", 10**6, 10**6)
    with pytest.raises(ValueError, match=r"a model: .* 1,000,001 transitions and would need"):
        require_memory("a model", 10**6 + 1, 10**6)
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    require_memory("a model", 10**9, 10**6)
