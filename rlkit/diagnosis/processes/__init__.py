"""Processes of their own, in which the doctor looks at an environment."""
