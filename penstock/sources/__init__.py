"""Kinds of source: one module a kind holds its fields in the spec, its listing and its reader.

The ventilator lists and the workers read, so both import this package, and it imports neither.
"""
