"""`rlkit list`."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.cli.forms import parse
from rlkit.cli.report import print_json


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List agents, presets and native environments."""

    json: bool = False  # print one JSON object and nothing else


def list_command(args: list[str]) -> int:
    options = parse(ListOptions, args, "list")
    from importlib.metadata import entry_points

    from rlkit.agents import AGENTS
    from rlkit.training.presets import PRESETS

    native = sorted(point.name for point in entry_points(group="rlkit.native_envs"))
    if options.json:
        print_json(
            {
                "agents": {name: text for name, (_, _, text) in AGENTS.items()},
                "presets": [
                    {"agent": agent, "environment": env, **settings}
                    for (agent, env), settings in PRESETS.items()
                ],
                "native_environments": native,
            }
        )
        return 0
    print("agents")
    for name, (_, _, text) in AGENTS.items():
        print(f"  {name:<16} {text}")
    print("\npresets (agent, environment, environment steps of a seed)")
    for (agent, env), settings in sorted(PRESETS.items(), key=lambda item: item[0][::-1]):
        print(f"  {agent:<16} {env:<18} {settings.get('steps', 0):>9,}")
    print("\nnative environments (batched twins, equal to Gymnasium's step for step)")
    for name in native:
        print(f"  {name}")
    print("\nEvery environment with a transition table P is sampled from its table.")
    return 0
