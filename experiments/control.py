"""What do the PPO presets reach on Acrobot-v1, Pendulum-v1 and MountainCar-v0?

python -m experiments.control
"""

from __future__ import annotations

from experiments.report import arguments, publish, train_all


def main() -> None:
    args = arguments(str(__doc__).splitlines()[0], seeds=10, out="results/control").parse_args()
    for environment in ("Acrobot-v1", "Pendulum-v1", "MountainCar-v0"):
        publish(
            train_all(
                {"ppo": {}, "random": {"steps": 50_000}},
                environment,
                seeds=args.seeds,
                workers=args.workers,
                out=args.runs,
                results=args.out / environment,
            )
        )


if __name__ == "__main__":
    main()
