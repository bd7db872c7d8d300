"""Baselines of the paper, each a learner on the shared agent."""
