"""The schema of the samples that the tests of custom transforms start from."""

from penstock.protocol.plan import FieldSchema

SCHEMA = (
    FieldSchema(name="image", dtype="uint8", shape=(4, 6, 3), axes="hwc", channels="rgb"),
    FieldSchema(name="label", dtype="int32", shape=()),
    FieldSchema(name="item", dtype="int64", shape=()),
    FieldSchema(name="patch", dtype="int32", shape=()),
)
