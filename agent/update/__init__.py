"""Over-the-air models: the state machine of a slot's deployments, and what drives it."""
