"""Demonstrations from runs, files and datasets, and runs that start from others."""
