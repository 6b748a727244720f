"""Averaging parameters over the ranks now and then, in place of gradients at each step."""
