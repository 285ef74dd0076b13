"""Decides whether symbolic links that lead out of a root are followed where the spec does not say.

On one host they are: the files are the user's own, and `ImageDataGenerator` follows them too. Over a network they are
not: a worker would read what another host's spec leads it to. The spec's default (`allow_outside = false`) stays what
it is, and the fingerprint does not depend on it.
"""

from collections.abc import Mapping

from penstock.protocol.spec.roots import is_url
from penstock.protocol.spec.source import Source
from penstock.protocol.spec.spec import Spec
from penstock.sources.base import kind_of


def follow_links(spec: Spec, roots: Mapping[str, str]) -> Spec:
    """Return the spec with links followed in each stream that does not forbid it; `roots` are those of the spec."""
    streams = {
        name: stream.model_copy(update={"source": stream.source.model_copy(update={"allow_outside": True})})
        if _may_follow(stream.source, roots)
        else stream
        for name, stream in spec.streams.items()
    }
    return spec.model_copy(update={"streams": streams})


def _may_follow(source: Source, roots: Mapping[str, str]) -> bool:
    """Return whether the spec leaves links open, and they can only be symbolic links of this host's folders."""
    holder = getattr(source, "manifest_root", None) or source.root
    return (
        "allow_outside" not in source.model_fields_set
        and kind_of(source).follows_links
        and not any(is_url(str(roots.get(name, ""))) for name in (source.root, holder))
    )
