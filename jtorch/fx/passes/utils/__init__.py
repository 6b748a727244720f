"""``torch.fx.passes.utils``."""
