"""``torch.onnx.symbolic_helper``: decorators of the functions given to ``register_custom_op_symbolic``."""


def parse_args(*descriptors: str):
    """Mark a function with the kinds of its arguments; the function itself is unchanged, as nothing here calls it."""

    def decorate(function):
        function._arg_descriptors = list(descriptors)
        return function

    return decorate


__all__ = ["parse_args"]
