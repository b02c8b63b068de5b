"""Environments that step many copies at once: vector environments, and batched ones of users."""
