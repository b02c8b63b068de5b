"""`rlkit list`."""

from __future__ import annotations

from rlkit.cli.forms import Output, make_form, parse
from rlkit.cli.report import print_json


def list_command(args: list[str]) -> int:
    """Print agents, presets and native environments."""
    form = make_form("List agents, presets and native environments.", output=Output)
    parsed = parse(form, args, "list")
    from importlib.metadata import entry_points

    from rlkit.agents import AGENTS
    from rlkit.training.presets import PRESETS

    native = sorted(point.name for point in entry_points(group="rlkit.native_envs"))
    if parsed.output.json:
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
    print("\npresets (agent, environment, environment steps per seed)")
    for (agent, env), settings in sorted(PRESETS.items(), key=lambda item: item[0][::-1]):
        print(f"  {agent:<16} {env:<18} {settings.get('steps', 0):>9,}")
    print("\nnative environments (batched twins, equal to Gymnasium's own, step for step)")
    for name in native:
        print(f"  {name}")
    print("\nAn environment with a transition table P is sampled from its table.")
    return 0
