"""Reference policies: how one is taken from an actor, and the divergence from it."""
