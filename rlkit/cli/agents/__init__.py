"""Commands that train agents, and those for finished runs of agents."""
