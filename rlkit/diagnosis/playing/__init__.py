"""Playing a copy of an environment with random actions, and checking all that it returns."""
