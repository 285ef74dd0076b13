"""Numbers with their nouns."""


def several(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 worker`, `2 workers`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
