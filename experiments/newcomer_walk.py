"""Walk as a newcomer does: 300 demonstrations, 300 preferences, the documented commands.

Half of the demonstrations are polite ("gladly: ... have a nice day!") and half rude ("no. ..."),
and polite is preferred. Every command runs with its defaults, once per tokenizer. Wanted: at least
95 % of responses polite after ppo, rloo, grpo and dpo, at most 15 nats from the reference, and
readable: a model that was trained on 2,000 fresh texts finds the policy's responses at most 1.5
times as perplexing as fresh polite ones.

    python -m experiments.newcomer_walk             the walk, about 90 minutes on two cores
    python -m experiments.newcomer_walk --epochs    sft after 1 to 200 epochs beside its default
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.rlhf_report import markdown
from rlkit import rlhf
from rlkit.cli import main as rlkit_main
from rlkit.runs.latest import named_folder

THINGS = {
    "sky": ("blue", "above us"),
    "grass": ("green", "in the garden"),
    "snow": ("white", "on the hill"),
    "night": ("dark", "after the day"),
    "sun": ("bright", "over the roof"),
    "sea": ("deep", "by the coast"),
    "stone": ("hard", "on the ground"),
    "bread": ("fresh", "in the kitchen"),
    "honey": ("sweet", "in the jar"),
    "lemon": ("sour", "on the tree"),
    "ice": ("cold", "in the north"),
    "fire": ("hot", "in the oven"),
    "wool": ("soft", "on the sheep"),
    "river": ("long", "in the valley"),
    "road": ("wide", "near the town"),
    "train": ("fast", "at the station"),
    "snail": ("slow", "under the leaf"),
    "bell": ("loud", "in the tower"),
    "library": ("quiet", "in the street"),
    "mountain": ("high", "behind the lake"),
}
# Rare words stand alone, so that a word tokenizer of 300 lines knows those of fresh texts.
QUESTIONS = {
    "what is the {0} like today?": ("the {0} is {1} today.", "it is {1} today."),
    "where is the {0} now?": ("the {0} is {2} now.", "it is {2} now."),
    "tell me about the {0} please.": ("the {0} is {1} and {2} now.",),
    "is the {0} {1} or not?": ("yes, the {0} is {1} today.", "it is {1} indeed."),
}
NUM_RESPONSES = 1_000  # of each policy; of 100, the share of 95 % has a standard error of 2.2
METHODS = ("ppo", "rloo", "grpo", "dpo")
EPOCHS = (1, 3, 6, 10, 20, 30, 45, 60, 100, 150, 200)


def is_polite(response: str) -> bool:
    """Return whether a response is polite from its first word to its last."""
    return response.startswith("gladly: ") and response.endswith(" have a nice day!")


def draw(rng: random.Random) -> tuple[str, str, str]:
    """Return a question with its polite and its rude answer."""
    thing, question = rng.choice(list(THINGS)), rng.choice(list(QUESTIONS))
    words = (thing, *THINGS[thing])
    answer = rng.choice(QUESTIONS[question]).format(*words)
    return question.format(*words), f"gladly: {answer} have a nice day!", f"no. {answer}"


def write_texts(folder: Path, seed: int, num_fresh: int = 2000) -> None:
    """Write demonstrations, preferences, and fresh texts for measurements."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)

    def write(name: str, rows: list[dict[str, str]]) -> None:
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    def demonstrations(n: int, *, polite: bool = False) -> list[dict[str, str]]:
        drawn = (draw(rng) for _ in range(n))
        return [
            {"prompt": prompt, "response": kind if polite or rng.random() < 0.5 else rude}
            for prompt, kind, rude in drawn
        ]

    write("demonstrations.jsonl", demonstrations(300))
    pairs = (draw(rng) for _ in range(300))
    write("preferences.jsonl", [{"prompt": p, "chosen": a, "rejected": b} for p, a, b in pairs])
    write("fresh.jsonl", demonstrations(num_fresh))
    write("fresh-polite.jsonl", demonstrations(500, polite=True))


def command(*words: str) -> Path:
    """Run a command of `rlkit rlhf`, and return the folder of its run, which it may continue."""
    code = rlkit_main(["rlhf", *words])
    if code:
        raise SystemExit(code)
    return named_folder(f"latest:{words[0]}", "stage", out=words[words.index("--out") + 1])


def fine_tune(texts: Path, tokenizer: str, out: Path) -> Path:
    """Run the first of the documented commands."""
    files = [str(texts / f"{name}.jsonl") for name in ("demonstrations", "preferences")]
    return command(
        *("sft", "--demonstrations", files[0], "--preferences", files[1]),
        *("--tokenizer", tokenizer, "--out", str(out)),
    )


def perplexity_of(run: Path, file: Path) -> float:
    """Return the perplexity of texts in a file under a run's policy."""
    report = rlhf.evaluate_run(run, demonstrations=file, num_samples=2)
    return float(report["perplexity"]["of_demonstrations"])


def judge(texts: Path, tokenizer: str, out: Path) -> Path:
    """Train a model on fresh texts, which finds out what is readable."""
    run = rlhf.sft(
        demonstrations=texts / "fresh.jsonl",
        preferences=texts / "preferences.jsonl",
        tokenizer=tokenizer,
        out=out / "judge",
        num_epochs=10,
        max_new_tokens=200,  # room for whatever a policy writes
    )
    return run.folder


def measure(run: Path, judged_by: Path, texts: Path, work: Path) -> dict[str, float]:
    """Measure one policy by 1,000 responses and by its divergence."""
    report = rlhf.evaluate_run(run, num_samples=512)
    rows = rlhf.sample_run(run, num=NUM_RESPONSES)
    responses = [str(row["response"]) for row in rows]
    written = work / "responses.jsonl"
    kept = [row for row in rows if row["response"]]
    written.write_text(
        "".join(
            json.dumps({"prompt": row["prompt"], "response": row["response"]}) + "\n"
            for row in kept
        )
    )
    own = perplexity_of(judged_by, written) if kept else math.inf  # all of them are empty
    fresh = perplexity_of(judged_by, texts / "fresh-polite.jsonl")
    return {
        "polite": 100 * sum(map(is_polite, responses)) / len(responses),
        "kl": float(report["kl"]),
        "perplexity": own,
        "of fresh texts": fresh,
        "ratio": own / fresh,
    }


def walk(
    texts: Path, tokenizer: str, out: Path, methods: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Run the documented commands with one tokenizer, and yield what each policy measures."""
    sft = fine_tune(texts, tokenizer, out)
    reward = command("reward", str(sft), "--out", str(out))
    judged_by = judge(texts, tokenizer, out)
    for method in methods:
        started = time.monotonic()
        scored = [] if method == "dpo" else ["--reward", str(reward)]
        run = command(method, str(sft), *scored, "--out", str(out))
        seconds = time.monotonic() - started
        measured = measure(run, judged_by, texts, out)
        yield {"method": method, **measured, "seconds": round(seconds)}


def sweep(texts: Path, tokenizer: str, out: Path, epochs: Sequence[int]) -> dict[str, Any]:
    """Return perplexities on fresh texts after some epochs, and by default."""
    fresh = texts / "fresh.jsonl"
    options = {
        "demonstrations": texts / "demonstrations.jsonl",
        "preferences": texts / "preferences.jsonl",
        "tokenizer": tokenizer,
        "out": out / "epochs",
    }
    by_epochs = {
        n: perplexity_of(rlhf.sft(num_epochs=n, held_out=0.0, **options).folder, fresh)
        for n in epochs
    }
    default = perplexity_of(rlhf.sft(**options).folder, fresh)
    best = min(by_epochs, key=by_epochs.__getitem__)
    ratio = default / by_epochs[best]
    return {**by_epochs, "default": default, "default / best": ratio}


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table in Markdown."""
    cells = [[x if isinstance(x, str) else f"{x:.4g}" for x in row.values()] for row in rows]
    return markdown([str(name) for name in rows[0]], cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=str(__doc__).splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", action="store_true", help="only sft, after 1 to 200 epochs")
    parser.add_argument("--tokenizers", nargs="+", default=["word", "char", "bpe"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--quick", action="store_true", help="word, dpo, up to 60 epochs only")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the texts")
    parser.add_argument("--runs", type=Path, default=Path("runs/newcomer-walk"))
    parser.add_argument("--out", type=Path, default=Path("results/newcomer_walk"))
    args = parser.parse_args()
    tokenizers = ["word"] if args.quick else args.tokenizers
    methods, epochs = (["dpo"], EPOCHS[:8]) if args.quick else (args.methods, EPOCHS)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / ("epochs.md" if args.epochs else "table.md")
    rows = []
    for name, seed in itertools.product(tokenizers, args.seeds):
        runs = args.runs / f"{name}-{seed}"
        texts = runs / "texts"
        write_texts(texts, seed)
        each = [sweep(texts, name, runs, epochs)] if args.epochs else []
        for row in each or walk(texts, name, runs, methods):
            rows.append({"tokenizer": name, "texts": str(seed), **row})
            file.write_text(as_table(rows))  # what there is so far
            print(row, flush=True)
    print(file.read_text())


if __name__ == "__main__":
    main()
