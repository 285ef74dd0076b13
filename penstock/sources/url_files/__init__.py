"""Files below URLs: one request for items that lie together, and whole shards kept on this host's disk."""
