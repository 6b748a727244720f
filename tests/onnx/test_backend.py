"""onnx's own backend tests, over jtorch.onnx.load: a sample here, all of them with --run-slow."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("onnx")

from . import backend_suite  # noqa: E402 (needs onnx)

SAMPLE = (
    "test_add_bcast", "test_adam", "test_argmax_keepdims_example_select_last_index", "test_attention_4d_gqa",
    "test_averagepool_2d_ceil", "test_batchnorm_example_training_mode", "test_bitshift_left_uint16",
    "test_cast_FLOAT_to_INT4", "test_clip_default_inbounds_expanded", "test_constant_pad_axes",
    "test_convtranspose_output_shape", "test_cumsum_1d_reverse_exclusive", "test_dequantizelinear_blocked",
    "test_div_int16", "test_gathernd_example_int32_batch_dim1", "test_gridsample_bicubic", "test_gru_seq_length",
    "test_if_seq", "test_layer_normalization_4d_axis1", "test_loop13_seq", "test_lstm_with_peepholes",
    "test_maxpool_with_argmax_2d_precomputed_strides", "test_mod_mixed_sign_float64",
    "test_nonmaxsuppression_two_classes", "test_qlinearconv", "test_reduce_max_empty_set",
    "test_reshape_allowzero_reordered", "test_resize_upsample_sizes_nearest_axes_3_2", "test_roialign_aligned_true",
    "test_scan9_sum", "test_scatter_elements_with_reduction_max", "test_sce_NCd1d2d3_sum_weight_high_ii",
    "test_sequence_map_extract_shapes", "test_slice_neg_steps", "test_split_variable_parts_2d_opset18",
    "test_strnormalizer_export_monday_casesensintive_lower", "test_top_k_smallest", "test_tril_zero",
    "test_unique_not_sorted_without_axis",
)  # fmt: skip


@pytest.fixture(scope="module")
def cases():
    return {name: test for _, name, test in backend_suite.cases()}


@pytest.mark.parametrize("name", SAMPLE)
def test_sample(cases, name):
    assert backend_suite.run(cases[name]) is None


@pytest.mark.slow
def test_as_many_pass_as_the_documentation_says(cases):
    recorded = json.loads(backend_suite.RESULTS.read_text())
    counts: dict[str, int] = {}
    for kind, _, test in backend_suite.cases():
        counts[kind] = counts.get(kind, 0) + (backend_suite.run(test) is None)
    for kind, of in recorded["kinds"].items():
        assert counts[kind] >= of["passed"], kind
