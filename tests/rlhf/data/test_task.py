"""Which contracts the tasks that exist fulfil."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.rlhf.data.task import EnumerableTask, GoldTask, LanguageTask
from rlkit.rlhf.data.text_task import TextTask
from rlkit_envs.enumerable import EnumerableTask as Enumerable
from rlkit_envs.grammar import GrammarTask

TEXT = TextTask.from_files(demonstrations=[{"prompt": "ab", "response": "ba"}])


@pytest.mark.parametrize(
    ("task", "has_gold", "lists_prompts"),
    [(TEXT, False, False), (GrammarTask(), True, True), (Enumerable(), True, True)],
    ids=["text", "grammar", "enumerable"],
)
def test_tasks_fulfil_the_contracts_of_what_they_know(
    task: LanguageTask, has_gold: bool, lists_prompts: bool
) -> None:
    assert isinstance(task, LanguageTask)
    assert isinstance(task, GoldTask) == has_gold
    assert isinstance(task, EnumerableTask) == lists_prompts


@pytest.mark.parametrize("task", [TEXT, GrammarTask(), Enumerable()])
def test_what_a_task_returns_has_the_shapes_and_ids_of_the_contract(task: LanguageTask) -> None:
    rng = np.random.default_rng(0)
    prompts = task.sample_prompts(rng, 3)
    again, responses = task.demonstrations(rng, 3)
    assert prompts.shape == again.shape == (3, task.prompt_length)
    assert responses.shape == (3, task.max_new_tokens)
    assert 0 <= task.eos < task.num_actions <= task.vocab_size
    assert task.pad not in range(task.num_actions)
    for ids in (prompts, again, responses):
        assert ids.dtype == np.int64
        assert ids.min() >= 0
        assert ids.max() < task.vocab_size
    decisions = responses[responses != task.pad]
    assert decisions.max() < task.num_actions
    assert (responses == task.eos).sum(1).max() <= 1
    assert len(task.token_names) == task.vocab_size
    for row in responses:
        kept = [i for i in row if i not in (task.eos, task.pad)]
        assert list(task.parse(task.text(kept))) == kept
