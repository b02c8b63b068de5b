"""The comparison of an exported folder with its run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rlkit.errors import RlkitError
from rlkit.rlhf.data.tokenizer import Tokenizer

pytest.importorskip("transformers")

from rlkit.rlhf.exporting.checking import require_equal, require_same_ids
from rlkit.rlhf.exporting.tokenizers import own_tokenizer


def test_logits_may_differ_by_rounding_and_where_padding_has_none() -> None:
    ours = [torch.tensor([[1.0, 200.0, -1e9]]), torch.tensor(3.0)]
    theirs = [torch.tensor([[1.0, 200.01, 5.0, 7.0]]), torch.tensor([3.0])]
    require_equal(Path("new"), ours, theirs)
    for wrong in (torch.tensor([[1.0, 200.1, 5.0]]), torch.tensor([[torch.nan, 200.0, 5.0]])):
        with pytest.raises(RlkitError, match="differ from the run's by up to"):
            require_equal(Path("new"), ours[:1], [wrong])


def test_a_tokenizer_that_reads_other_ids_is_rejected(tmp_path: Path) -> None:
    own_tokenizer(Tokenizer.train(["a b"], "word")).save_pretrained(tmp_path)
    require_same_ids(tmp_path, Tokenizer.train(["b a"], "word"), ["a b"])
    with pytest.raises(RlkitError, match="reads 'a b' as other ids"):
        require_same_ids(tmp_path, Tokenizer.train(["0 a b"], "word"), ["a b"])
