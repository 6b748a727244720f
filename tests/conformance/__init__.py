"""jtorch against PyTorch's own tables of optimizers and modules; see README.md."""
