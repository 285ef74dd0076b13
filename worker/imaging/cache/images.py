"""One stream's decoded images in the store: finds them, makes and keeps those that are not there, and counts both.

An image is found by its item's root and name, and by the identity of its file: inode, size and times. Where these do
not vouch for it, because the file was copied, mounted anew or changed just before it was read, its bytes are read and
their digest decides, which every entry bears; and where there is no such identity, as below a URL. So the store never
changes what is made: a changed file is another image.
"""

import hashlib
import json
import os
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import cast

from penstock.protocol.plan import StreamPlan
from penstock.protocol.storage.user_cache import SETTLED_S
from penstock.sources.base import Known
from penstock.sources.files import FileIdentity
from penstock.worker.imaging.cache.entry import IDENTITY_BYTES, KEY_BYTES, Entry, Source, digest_of
from penstock.worker.imaging.cache.hints import Place
from penstock.worker.imaging.cache.prefix import Prefix
from penstock.worker.imaging.cache.store import Store
from penstock.worker.imaging.compiled.planes import Painter, Planes, Windows, height_of
from penstock.worker.imaging.decode import Decoder, Pixels

#: What is kept of an item.
Image = Pixels | Planes

_IDENTITY = struct.Struct("<QQqq")
#: Images that are put into the store together, at most: a call of the kernel's takes 1024 pieces.
_MOST_HELD = 256
#: Keys that are remembered, and names of items of which another version is kept.
_KEYS, _NAMES = 1024, 65_536


@dataclass(slots=True)
class CacheCounts:
    """Sums since the worker started, of all its streams."""

    hits: int = 0
    misses: int = 0
    #: Bytes of pixels that came from the store, and that were put into it.
    read_bytes: int = 0
    written_bytes: int = 0
    #: Seconds that the hits' images took to make, less those of finding them.
    saved_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hit(self, size: int, saved_s: float) -> None:
        """Count an image that was found."""
        with self._lock:
            self.hits += 1
            self.read_bytes += size
            self.saved_s += max(0.0, saved_s)

    def missed(self, images: int) -> None:
        """Count images that were made."""
        with self._lock:
            self.misses += images

    def kept(self, written: int) -> None:
        """Count how many bytes of images were put into the store."""
        with self._lock:
            self.written_bytes += written


@dataclass(frozen=True, slots=True)
class Cache:
    """A process's store, and what it counts there."""

    store: Store
    counts: CacheCounts
    settled_s: float = SETTLED_S


class ImageCache:
    """The images of one stream; `find` may run on one thread while the other methods run on another."""

    def __init__(self, plan: StreamPlan, root: str, decoder: Decoder, cache: Cache) -> None:
        """Take a stream's plan, where its root lies, and the decoder of the thread that makes samples."""
        self._store, self._counts, self._settled_s = cache.store, cache.counts, cache.settled_s
        self._prefix = Prefix(plan, decoder)
        self._painter = Painter()
        #: How many images it may have.
        self.items = plan.items
        #: Number of leading steps that images have gone through.
        self.steps = self._prefix.steps
        told = json.dumps(self._prefix.parameters, sort_keys=True)
        #: The group of its images in the store: one for each set of parameters and versions.
        self.group = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
        place = root if "://" in root else os.path.realpath(root)
        self._root = hashlib.blake2b(os.fsencode(place), digest_size=KEY_BYTES).digest()
        asked = plan.settings.cache
        #: Whether the digest decides in every epoch.
        self._by_digest = asked is not None and asked.verify == "digest"
        #: Items that have an entry, which their file's identity does not vouch for: their digest decides.
        self._doubted: set[str] = set()
        #: Images that were made and are not in the store yet: the item's name, its source, and the fields of an entry.
        self._held: list[tuple[str, Callable[[], Source], Pixels, float, int]] = []
        self._held_bytes = 0
        #: Images that were made and are not counted yet; and how many bytes of them may wait.
        self._misses = 0
        self._most_held = cache.store.together_bytes if self._prefix.lasts else -1
        #: The keys of the last items: each is asked for twice.
        self._keys: dict[str, bytes] = {}
        cache.store.add_user(self)

    def find(self, name: str, identity: FileIdentity) -> Image | None:
        """Return an item's image if the store has it for this identity of the item's file."""
        if self._by_digest:
            return None
        found = self._find(name, Source(_IDENTITY.pack(*identity)))
        if not isinstance(found, bool):
            return found[0]
        if found:
            if len(self._doubted) >= _NAMES:  # tasks that were read and never made
                self._doubted.clear()
            self._doubted.add(name)
        return None

    def digest(self, content: bytes) -> bytes:
        """Return the digest of a file that was just read, while its bytes are at hand; empty if nothing may be kept."""
        return digest_of(content) if self._prefix.keeps_all else b""

    def pixels(
        self,
        name: str,
        content: bytes,
        known: Known | None,
        windows: Windows,
        place: Pixels | None = None,
    ) -> Pixels | None:
        """Return an item's image: the one that `find` found, or made from its bytes, and kept.

        Outside of the windows its pixels may be anything. An image that is made may lie in `place` then, where it must
        stay until `keep`. None if images like this one are not kept: see `Prefix.make`. Raises ItemError.
        """
        image = self._image(name, content, known, place)
        return self._painter.pixels(image, windows) if isinstance(image, Planes) else image

    def _image(self, name: str, content: bytes, known: Known | None, place: Pixels | None) -> Image | None:
        if known is None:
            source = Source(hashlib.blake2b(content, digest_size=IDENTITY_BYTES).digest())
            found = self._find(name, source)
            return self._make(name, content, lambda: source, place) if isinstance(found, bool) else found[0]
        if known.image is not None:
            return cast("Image", known.image)
        if self._by_digest or name in self._doubted:
            self._doubted.discard(name)
            source = self._source(content, known)
            found = self._find(name, Source(digest=source.digest))
            if not isinstance(found, bool):
                image, where, entry = found
                if source.identity and not self._by_digest:  # the next epoch need not read the file
                    self._store.renew(self.group, self._key(name), where, source, entry)
                return image
        told = partial(self._source, content, known) if known.identity is not None else None
        return self._make(name, content, told, place)

    def _source(self, content: bytes, known: Known) -> Source:
        """Return what tells the bytes of a file that was read."""
        return Source(self._vouching(known), known.digest or digest_of(content))

    def _vouching(self, known: Known) -> bytes:
        """Return what tells a file's content without reading it; empty if it may change again and look the same."""
        if known.identity is None or known.asked_at - max(known.identity[2:]) / 1e9 <= self._settled_s:
            return b""
        return _IDENTITY.pack(*known.identity)

    def _find(self, name: str, source: Source) -> tuple[Image, Place, Entry] | bool:
        """Return an image and its entry if the store has it, else whether the item has another entry."""
        began = perf_counter()
        found = self._store.look(self.group, self._key(name), source)
        if isinstance(found, bool):
            return found
        place, entry = found
        self._counts.hit(entry.pixels.nbytes, entry.made_s - (perf_counter() - began))
        pixels = entry.pixels
        return Planes(pixels, height_of(len(pixels)), entry.width) if entry.width else pixels, place, entry

    def _make(
        self, name: str, content: bytes, source: Callable[[], Source] | None, place: Pixels | None
    ) -> Image | None:
        """Return an image that is made now, and hold it to be kept, unless it has no source.

        What can wait is left to `keep`: Python takes several times as long after each decoding as many times in a row.
        """
        began = perf_counter()
        image = self._prefix.make(content, place)
        if image is None:
            return None
        made_s = perf_counter() - began
        pixels, width = (image.rows, image.width) if isinstance(image, Planes) else (image, 0)
        if source is not None:
            self._held.append((name, source, pixels, made_s, width))
            self._held_bytes += pixels.nbytes
            if self._held_bytes > self._most_held or len(self._held) >= _MOST_HELD:
                self.keep()
        self._misses += 1
        return image

    def keep(self) -> None:
        """Put what was made, and not put yet, into the store: many images by one call take less time each."""
        waiting, size, misses = self._held, self._held_bytes, self._misses
        self._held, self._held_bytes, self._misses = [], 0, 0
        held = [
            (self._key(name), source(), Entry(pixels, made_s, width)) for name, source, pixels, made_s, width in waiting
        ]
        if misses:
            self._counts.missed(misses)
        if self._prefix.lasts:
            self._most_held = self._store.together_bytes
        if held and self._store.put_all(self.group, held):
            self._counts.kept(size)
        elif len(held) > 1:  # there may be room for some
            for key, source, entry in held:
                if self._store.put(self.group, key, source, entry):
                    self._counts.kept(entry.pixels.nbytes)

    def _key(self, name: str) -> bytes:
        key = self._keys.get(name)
        if key is None:
            key = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=KEY_BYTES, key=self._root).digest()
            if len(self._keys) >= _KEYS:
                self._keys.clear()
            self._keys[name] = key
        return key


def open_cache(
    plan: StreamPlan, roots: Mapping[str, str | Path], decoder: Decoder, cache: Cache | None
) -> ImageCache | None:
    """Return the cache of a stream that asks for one, if the process has a store."""
    if cache is None or plan.settings.cache is None:
        return None
    return ImageCache(plan, str(roots[plan.settings.source.root]), decoder, cache)
