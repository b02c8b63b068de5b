"""Processes that work for this one: how they start, what can be sent to them, how they end."""
