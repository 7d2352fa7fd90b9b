"""Adapting a network to a device: groups of channels, their costs, and the search over them."""
