"""How many steps do REINFORCE and PPO need on CartPole-v1, and how certain is that?

python -m experiments.cartpole
"""

from __future__ import annotations

from experiments.report import arguments, publish, train_all


def main() -> None:
    args = arguments(str(__doc__).splitlines()[0], seeds=30, out="results/cartpole").parse_args()
    settings = {"reinforce": {}, "ppo": {}, "random": {"steps": 100_000}}
    publish(
        train_all(
            settings,
            "CartPole-v1",
            seeds=args.seeds,
            workers=args.workers,
            out=args.runs,
            results=args.out,
        )
    )


if __name__ == "__main__":
    main()
