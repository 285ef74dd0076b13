"""The worker: stateless; reads, decodes, cuts, augments and sends."""
