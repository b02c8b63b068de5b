"""Measurements of speed, memory and coverage; each prints a table."""
