"""Ways to devices, one file each: what starts an agent there; see `edgekit.core.Transport`."""
