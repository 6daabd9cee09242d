"""Whether two names of a class are the same."""


def plain(name: str) -> str:
    """A name without what label lists differ in: `Dining_Table`, `dining table`."""
    return " ".join(name.replace("_", " ").split()).casefold()
