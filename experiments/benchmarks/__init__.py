"""Measurements of speed and coverage; each prints a table and can be run again."""
