"""The shared base of all parts: spec, order, messages, wire format, sockets and storage."""
