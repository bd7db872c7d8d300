"""The three stages of CoWorld as pure functions of tensors."""
