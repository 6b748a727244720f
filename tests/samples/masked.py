"""Rows for ``torch.masked``."""

from .table import S, T, rows

X = T(3, 4)
MASK = T(3, 4, values=[[1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 1, 1]], dtype="bool")
ROW = T(4, values=[1, 0, 1, 1], dtype="bool")
NONE = T(2, 3, values=[[0, 0, 0], [1, 0, 1]], dtype="bool")
INTEGERS = T(3, 4, dtype="int32")

for _name in ("sum", "prod", "amax", "amin", "mean", "norm", "var", "std", "logsumexp"):
    # a variance of one element is not a number
    rows(
        f"torch.masked.{_name}",
        S(X, dim=1, mask=MASK, gradcheck=_name not in ("var", "std")),
        S(X, mask=MASK),
        S(
            X,
            dim=(0,),
            keepdim=True,
            mask=ROW,
            gradcheck=_name in ("sum", "prod", "norm"),
            why="a column is masked whole: its result is infinite or not a number, and so are differences of it",
        ),
        S(X),
    )
for _name in ("sum", "prod", "amax", "amin", "argmax", "argmin"):
    _more = [S(INTEGERS, dim=0, mask=MASK), S(T(2, 3, grad=False), dim=1, mask=NONE)]
    if _name.startswith("arg"):
        rows(f"torch.masked.{_name}", S(X, dim=1, mask=MASK), S(X, mask=MASK), *_more)
    else:
        from .table import TABLE

        TABLE[f"torch.masked.{_name}"] += _more
rows("torch.masked.median", S(X, 1, mask=MASK), S(X, 0, keepdim=True))
for _name in ("cumsum", "cumprod", "softmax", "log_softmax", "softmin"):
    rows(f"torch.masked.{_name}", S(X, 1, mask=MASK, gradcheck=_name != "log_softmax"), S(X, 0))
rows("torch.masked.normalize", S(X, 2.0, 1), S(X, 1.0, 0))
rows("torch.masked.logaddexp", S(T(4), T(4), input_mask=ROW), S(T(3), T(3)))
