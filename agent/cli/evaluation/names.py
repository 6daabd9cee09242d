"""How classes and figures are called."""


def plain(name: str) -> str:
    """A name without what label lists differ in: `Dining_Table`, `dining table`."""
    return " ".join(name.replace("_", " ").split()).casefold()


def in_words(figure: float | None) -> str:
    """Three decimals; - where there is nothing to measure."""
    return "-" if figure is None else f"{figure:.3f}"
