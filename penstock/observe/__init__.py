"""Clients that ask running services for their status and for sample images."""
