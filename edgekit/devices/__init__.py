"""Devices: what is known about them."""
