"""Sequences of steps: recipes by name, views with steps of their own, and what a transform lists of them."""
