"""Behaviour cloning: policies that imitate demonstrations."""
