"""Names what a file that is not an image looks like, without quoting its content.

The reason that an item is quarantined leaves the worker's host, so it must not carry bytes of a file that may be
anything; the kind of file is enough to see a web page or a text that was saved as .jpg.
"""

#: How files of other kinds begin, in the order in which they are compared.
_BEGINNINGS = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a Parquet file"),
    (b"ID3", "an MP3 file"),
    (b"RIFF", "a sound or video file"),
    (b"version https://git-lfs", "a Git LFS pointer: fetch the files themselves by `git lfs pull`"),
)
#: Bytes of the beginning that tell a text from other data.
_TEXT_BYTES = 512
#: Bytes that occur in a text: ASCII's printed characters and white space, and all of UTF-8's further ones.
_PRINTED = bytes(range(0x20, 0x7F)) + b"\t\n\r\f" + bytes(range(0x80, 0xFF))


def looks_like(data: bytes) -> str:
    """Return what kind of file `data` seems to be, in words that hold none of its content."""
    if not data:
        return "it is empty"
    head = data[:_TEXT_BYTES]
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it looks like a web page"
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return f"it looks like {kind}"
    if not any(head):
        return "it begins with zeros only"
    if not head.translate(None, _PRINTED):
        return "it looks like a text"
    return "it looks like none of the kinds of file known here"
