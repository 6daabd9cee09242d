"""What the agent knows without touching the world: numpy, and OpenCV in preprocess alone."""
