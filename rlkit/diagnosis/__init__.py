"""What is wrong with an environment, and what to begin with: the parts of `rlkit.doctor`."""
