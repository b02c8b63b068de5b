"""A task that an installed package offers: the enumerable language with 121 responses a prompt."""

from rlkit_envs.enumerable import EnumerableTask


class TinyTask(EnumerableTask):
    """Three content tokens, two prompts and at most four tokens per response."""

    name = "tiny"

    def __init__(self) -> None:
        super().__init__(num_content=3, num_prompts=2, max_new_tokens=4)
