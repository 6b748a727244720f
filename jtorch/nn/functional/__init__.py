"""``jtorch.nn.functional``: the ops of that namespace, and the functions written over Tensors."""

from ...tensor import export as _export

globals().update(_export.functions("nn.functional"))

from .. import _reduction as _Reduction  # noqa: E402
from .activation import (  # noqa: E402
    celu,
    celu_,
    elu,
    elu_,
    gumbel_softmax,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    log_softmax,
    mish,
    relu,
    relu6,
    relu_,
    rrelu,
    rrelu_,
    selu,
    selu_,
    sigmoid,
    silu,
    softmax,
    softmin,
    tanh,
    threshold,
    threshold_,
)
from .attention import multi_head_attention_forward, scaled_dot_product_attention  # noqa: E402
from .dropout import (  # noqa: E402
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from .linear_cross_entropy import linear_cross_entropy  # noqa: E402
from .loss import (  # noqa: E402
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    cross_entropy,
    ctc_loss,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from .normalization import batch_norm, instance_norm, normalize  # noqa: E402
from .pooling import (  # noqa: E402
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d_with_indices,
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
    max_pool1d_with_indices,
    max_pool2d_with_indices,
    max_pool3d_with_indices,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from .products import (  # noqa: E402
    ScalingType,
    SwizzleType,
    conv_tbc,
    grouped_mm,
    scaled_grouped_mm,
    scaled_mm,
)
from .resizing import affine_grid, grid_sample, upsample, upsample_bilinear, upsample_nearest  # noqa: E402
from .sparse import embedding, embedding_bag, one_hot  # noqa: E402

_threshold = threshold  # the name under which torch.fx prints it

for _f in list(globals().values()):  # they are pickled by the name that programs find them by
    if getattr(_f, "__module__", "").startswith(f"{__name__}.") and callable(_f):
        _f.__module__ = __name__
