"""Upkeep of the folders of runs of any kind: checking them, and continuing them."""
