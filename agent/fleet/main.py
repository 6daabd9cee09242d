"""The command line of edge-fleet."""


def main() -> int:
    """Returns the exit status."""
    return 0
