"""Commands that look at an environment or solve it."""
