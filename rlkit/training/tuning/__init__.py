"""Tuning: trials of settings as runs on disk, a race, and confirmation on fresh seeds."""
