"""Recognises data sets with annotations: folders in known layouts, and manifests."""
