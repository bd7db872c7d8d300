"""DreamerV2 agent, replay and logs, without any knowledge of CoWorld."""
