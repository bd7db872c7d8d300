"""CoWorld: offline visual reinforcement learning with a source simulator."""
