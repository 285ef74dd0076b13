"""Short names of operations that have a number as their parameter."""


def digits(value: float) -> str:
    """Return 0.8 as `08`; a number with more digits as `0_85` or `12_0`, so that no two values share a name."""
    text = repr(value)
    return text.replace(".", "" if len(text) == len("0.8") else "_")
