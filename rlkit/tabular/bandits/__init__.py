"""Bernoulli bandits solved exactly: the belief as a finite MDP, and the Gittins index."""
