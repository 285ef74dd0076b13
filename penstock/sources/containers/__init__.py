"""Kinds of source whose files hold many images each: every item is a part of a file, read at its offset."""
