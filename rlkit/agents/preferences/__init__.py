"""Learning a reward from preferences between segments of trajectories."""
