"""Files that may be anybody's, run in a process of their own with bounds."""

from edgekit.isolation.runner import activations_isolated, open_isolated

__all__ = ["activations_isolated", "open_isolated"]
