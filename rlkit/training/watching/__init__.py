"""Watching a run while it is trained, and stopping it: callbacks, rules, trackers, best states."""
