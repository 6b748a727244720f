"""``torch.fx.experimental.proxy_tensor``: whether operations are being traced into a graph of ATen operations."""


def get_proxy_mode() -> None:
    """None: there is no such tracing; :mod:`jtorch.export` records what runs."""


__all__ = ["get_proxy_mode"]
