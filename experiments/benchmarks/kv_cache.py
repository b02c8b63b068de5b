"""How much faster does the key-value cache make sampling?

Generates responses with a GPT of random weights, each token the likeliest one, in two ways:

    with       one forward of the prompt, then one of the new token alone for each step
    without    one forward of the whole prefix for each step

Both choose the same tokens, which is checked. Rounds of the two alternate; times are medians of
them, in one thread.

    python -m experiments.benchmarks.kv_cache --rounds 9
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rlkit.rlhf.models.gpt import GPT, GPTConfig

SIZES = ((64, 2), (128, 4))  # width and layers
VOCAB_SIZE = 64


@dataclass(frozen=True)
class Result:
    """One size of model."""

    width: int
    num_layers: int
    seconds_with: list[float]  # of each round, for all sequences
    seconds_without: list[float]
    times_faster: float  # of the medians
    tokens_per_second: float  # with the cache


@torch.no_grad()
def with_cache(gpt: GPT, prompts: Tensor, num_tokens: int) -> Tensor:
    """The prompts [B, P] with `num_tokens` more, [B, P + num_tokens]."""
    batch, start = prompts.shape
    tokens = torch.cat([prompts, prompts.new_zeros(batch, num_tokens)], dim=1)
    cache = gpt.new_cache(batch, start + num_tokens)
    new = prompts
    for column in range(start, start + num_tokens):
        logits = gpt.unembed(gpt(new, cache=cache)[:, -1])
        tokens[:, column] = logits.argmax(-1)
        new = tokens[:, column : column + 1]
    return tokens


@torch.no_grad()
def without_cache(gpt: GPT, prompts: Tensor, num_tokens: int) -> Tensor:
    """The same by a forward of the whole prefix for each token."""
    batch, start = prompts.shape
    tokens = torch.cat([prompts, prompts.new_zeros(batch, num_tokens)], dim=1)
    for column in range(start, start + num_tokens):
        logits = gpt.unembed(gpt(tokens[:, :column])[:, -1])
        tokens[:, column] = logits.argmax(-1)
    return tokens


def seconds(generate: Callable[..., Tensor], *args: object) -> float:
    start = time.perf_counter()
    generate(*args)
    return time.perf_counter() - start


def measure(width: int, num_layers: int, options: argparse.Namespace) -> Result:
    rng = np.random.default_rng(0)
    config = GPTConfig(
        vocab_size=VOCAB_SIZE,
        num_actions=VOCAB_SIZE,
        context_length=options.prompt + options.tokens,
        width=width,
        num_layers=num_layers,
    )
    gpt = GPT(config, rng).eval()
    with torch.no_grad():
        # Away from its flat start, or the likeliest token would be decided by rounding.
        for parameter in gpt.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.1, parameter.shape)))
    prompts = torch.from_numpy(rng.integers(0, VOCAB_SIZE, (options.sequences, options.prompt)))
    args = (gpt, prompts, options.tokens)
    same = (with_cache(*args) == without_cache(*args)).all(dim=1)
    # Two tokens may be equally likely to within rounding, in very few sequences.
    if float(same.float().mean()) < 0.98:
        raise RuntimeError(f"only {int(same.sum())} of {len(same)} sequences are the same")
    pairs = [
        (seconds(with_cache, *args), seconds(without_cache, *args)) for _ in range(options.rounds)
    ]
    fast, slow = ([pair[i] for pair in pairs] for i in (0, 1))
    median = statistics.median(fast)
    return Result(
        width=width,
        num_layers=num_layers,
        seconds_with=fast,
        seconds_without=slow,
        times_faster=statistics.median(slow) / median,
        tokens_per_second=options.sequences * options.tokens / median,
    )


def markdown_table(results: list[Result]) -> str:
    """Medians over the rounds (least to most)."""
    lines = [
        "| model | without the cache | with the cache | times faster | tokens per s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        times = [
            f"{1e3 * statistics.median(s):.1f} ms ({1e3 * min(s):.1f} to {1e3 * max(s):.1f})"
            for s in (result.seconds_without, result.seconds_with)
        ]
        lines.append(
            f"| width {result.width}, {result.num_layers} layers | {times[0]} | {times[1]} "
            f"| {result.times_faster:.1f} | {result.tokens_per_second:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sequences", type=int, default=128, help="of a batch (128)")
    parser.add_argument("--prompt", type=int, default=8, help="tokens of each prompt (8)")
    parser.add_argument("--tokens", type=int, default=24, help="to generate for each (24)")
    parser.add_argument("--rounds", type=int, default=9, help="medians are of so many (9)")
    parser.add_argument("--out", type=Path, default=Path("results/kv_cache"))
    options = parser.parse_args()
    for name in ("sequences", "prompt", "tokens", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    torch.set_num_threads(1)
    results = [measure(width, num_layers, options) for width, num_layers in SIZES]
    table = markdown_table(results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(table)
    settings = {name: getattr(options, name) for name in ("sequences", "prompt", "tokens")}
    content = {**settings, "torch": torch.__version__, "models": [asdict(r) for r in results]}
    (options.out / "times.json").write_text(json.dumps(content, indent=2) + "\n")
    print(
        f"{options.sequences} sequences, prompts of {options.prompt} tokens, {options.tokens} "
        f"tokens generated, one thread; medians of {options.rounds} rounds (least to most).\n"
    )
    print(table, end="")


if __name__ == "__main__":
    main()
