"""Processes for native code that can crash, hang or leak, and the agent's side of them."""
