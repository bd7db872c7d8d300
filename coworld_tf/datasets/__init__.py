"""Making datasets of episodes."""
