"""What do the PPO presets reach on Acrobot-v1, Pendulum-v1 and MountainCar-v0?

python -m experiments.control                       # all three
python -m experiments.control --env MountainCar-v0  # one of them
"""

from __future__ import annotations

from experiments.report import arguments, publish, train_all

ENVIRONMENTS = ("Acrobot-v1", "Pendulum-v1", "MountainCar-v0")


def main() -> None:
    parser = arguments(str(__doc__).splitlines()[0], seeds=10, out="results/control")
    parser.add_argument("--env", choices=ENVIRONMENTS, help="only this environment")
    args = parser.parse_args()
    for environment in (args.env,) if args.env else ENVIRONMENTS:
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
