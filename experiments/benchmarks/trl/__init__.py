"""The two sides of the comparison of `trl_ppo`, and what they share."""
