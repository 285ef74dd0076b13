"""The image formats that workers decode, and the suffixes by which a listing tells their files.

Both follow from the Pillow that is installed. This module imports Pillow: import it only where it is needed.
"""

from importlib import import_module

from PIL import Image, features

#: Pillow's plugin of each format that may be tried. Not all that Pillow has: some plugins start programs (EPS:
#: Ghostscript), and some take any bytes for an image (TGA has no signature).
_PLUGINS = {
    "JPEG": "Jpeg",
    "PNG": "Png",
    "WEBP": "WebP",
    "BMP": "Bmp",
    "GIF": "Gif",
    "TIFF": "Tiff",
    "PPM": "Ppm",
    "AVIF": "Avif",
    "JPEG2000": "Jpeg2K",
}
#: Formats that need a library which Pillow may have been built without.
_LIBRARIES = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
#: Formats that are tried, by content.
FORMATS = tuple(name for name in _PLUGINS if name not in _LIBRARIES or features.check(_LIBRARIES[name]))
for _name in (*map(_PLUGINS.__getitem__, FORMATS), "Mpo"):  # else the first WebP or TIFF file imports all plugins
    import_module(f"PIL.{_name}ImagePlugin")

#: What Pillow calls a JPEG that holds further images, of which the first is decoded.
_JPEGS = "MPO"
#: Floats, which have no range that could become levels: always refused by the decoder.
_NEVER = {".pfm"}
#: Suffixes of image files, in lower case and without the dot.
SUFFIXES = frozenset(
    suffix.removeprefix(".").encode()
    for suffix, name in Image.EXTENSION.items()
    if name in {*FORMATS, _JPEGS} and suffix not in _NEVER
)
