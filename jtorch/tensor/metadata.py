"""Shape, strides, dtype, device and the other facts about a Tensor that need no data."""

from __future__ import annotations

from .. import devices, dtypes
from ..ops.shapes import canonical_dim
from ..size import Size
from . import layout


class MetadataMixin:
    """What can be asked of a Tensor without running anything."""

    @property
    def shape(self) -> Size:
        if self._lens is None:
            return self._storage.value.aval.shape
        return self._aval.shape

    def size(self, dim: int | None = None, *, axis: int | None = None):
        """The shape, or the length of one dimension."""
        shape = self.shape
        dim = axis if dim is None else dim
        return shape if dim is None else shape[canonical_dim(dim, len(shape))]

    @property
    def dtype(self) -> dtypes.dtype:
        return (self._storage.value.aval if self._lens is None else self._aval).dtype

    @property
    def device(self) -> devices.device:
        return self._storage.value.device

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    ndim = property(dim)
    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return (self._storage.value.aval if self._lens is None else self._aval).numel

    nelement = numel

    #: A number that no other tensor alive has, by which programs tell whether two names are one tensor.
    _cdata = property(id)

    def element_size(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.numel() * self.dtype.itemsize

    def stride(self, dim: int | None = None, *, axis: int | None = None):
        """Steps in elements between neighbours along each dimension (as PyTorch would lay the tensor out)."""
        strides = layout.strides(self)
        dim = axis if dim is None else dim
        return strides if dim is None else strides[canonical_dim(dim, len(strides))]

    def storage_offset(self) -> int:
        """Where in its storage the first element stands."""
        return layout.offset(self)

    def is_contiguous(self, memory_format=layout.contiguous_format) -> bool:
        """Whether elements lie in memory in the order of ``memory_format``."""
        return layout.is_contiguous(self, memory_format)

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self.dtype.is_complex

    def is_signed(self) -> bool:
        return self.dtype.is_signed

    def is_inference(self) -> bool:
        return self._inference

    def get_device(self) -> int:
        """The device's index; -1 for the CPU."""
        return -1 if self.device.index is None else self.device.index

    @property
    def layout(self):
        return layout.strided

    is_cuda = property(lambda self: self.device.type == "cuda")
    is_cpu = property(lambda self: self.device.type == "cpu")
    is_meta = property(lambda self: self.device.type == "meta")
    is_xla = property(lambda self: self.device.type in ("xla", "tpu"))
    is_sparse = property(lambda self: False)
    is_sparse_csr = property(lambda self: False)
    is_quantized = property(lambda self: False)
    is_mps = is_xpu = is_hpu = is_ipu = is_mkldnn = is_vulkan = is_nested = is_sparse
    names = property(lambda self: (None,) * self.dim())

    def is_pinned(self, device=None) -> bool:
        return False

    def is_shared(self) -> bool:
        return False

    def is_conj(self) -> bool:
        return False

    def is_neg(self) -> bool:
        return False

    def is_set_to(self, tensor) -> bool:
        """Whether both are the same view of the same storage."""
        return self._storage is tensor._storage and self._lens == tensor._lens

    def _is_view(self) -> bool:
        return self._root is not None

    @property
    def _base(self):
        return self._root

    @property
    def _version(self) -> int:
        if self._inference:
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._storage.version

    def data_ptr(self) -> int:
        """Where the first element lies in memory; equal for tensors that start at the same one of the same storage.

        See :meth:`.storage.Storage.address`.
        """
        if self.numel() == 0:
            return 0
        start = self._storage.address()
        return start and start + self.storage_offset() * self.element_size()

    def untyped_storage(self):
        return layout.StorageBase(self)

    storage = untyped_storage

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __hash__(self) -> int:
        return id(self)
