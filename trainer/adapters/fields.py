"""Chooses the fields of a feed's batches that a framework gets."""

from penstock.protocol.errors import SpecError
from penstock.protocol.plan import FieldSchema
from penstock.trainer.adapters.batches import BatchSource


def choose_fields(feed: BatchSource, fields: tuple[str, ...] | None) -> list[FieldSchema]:
    """Return the named fields of a feed in that order; all of them for None. Raises SpecError for unknown names."""
    known = {field.name: field for field in feed.schema}
    if isinstance(fields, str) or (fields is not None and (not fields or set(fields) - set(known))):
        raise SpecError(f"fields = {fields!r}: give a tuple of {', '.join(known)}; or None for dicts of all of them")
    return [known[name] for name in (known if fields is None else fields)]
