"""Integer precisions: where ranges come from, and how much accuracy may be given for them."""
