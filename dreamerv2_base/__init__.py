"""DreamerV2 agent, replay and driver, without any knowledge of CoWorld."""
