"""A data base that py-lmdb 3.0 wrote; `make test-formats` reads freshly written ones.

Its keys are `image-000000` to `-000005` with the images of `shards.py`, `label-000000` to `-000005`, and `num-samples`.
"""

import base64
import zlib
from pathlib import Path

_WRITTEN = (
    "c-rmRO-jQ+6u|M9G#^D1>nU6ah4jn4_2UrkqJ|<QDpVKVqla+g5tN?6wYU~Hq8CuoOr+^VDQLv%|F_5_!+T^1!z6DalB-XS_v5D<LkhCX)jZ",
    ";JuZqkmk2eGW00000RK=*Y{x`Jy)Ku%M)>N&njRyb#0001d7jx=tT}IAhL;O8=&3$pk&TZqt>$@xNopb4o9G(>bpjz1;@Uk4AC(U7)oW{{`B",
    "ilFjBo6nZxEZ8+hbIHM^3!-vj*@T?seZfgZY$(;Tfy^^meI9TM#)_|2jQ9Y>RL{x_Hj--9odDQ^-txrw*UY?t8A5Sr7QcjsjbqjKCr0DW_pl",
    "*j~JrO^kDP-f4qn_iP#1J0GJ0`RsaAj6l<pb-vIys0RA#c0094#JyZYh0ssI20Dd3JSA5YMdMIG>",
)

#: Bytes of one of its pages, and the page that is the root of its tree: a leaf, after which the large values lie.
PAGE_BYTES, ROOT = 4096, 2


def write_lmdb(path: Path) -> None:
    """Write the data base's file."""
    path.write_bytes(zlib.decompress(base64.b85decode("".join(_WRITTEN))))
