"""The writer of event files."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from datetime import datetime

import numpy as np

from jtorch.tensor import Tensor

from . import embedding, summary
from .records import _bytes, _double, _doubles, _float, _int, _png, _record, _wav


def _array(x) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _grid(images: np.ndarray) -> np.ndarray:
    """Images ``(N, H, W, C)`` as one."""
    count, height, width, channels = images.shape
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    blank = np.zeros((rows * columns - count, height, width, channels), images.dtype)
    cells = np.concatenate([images, blank]).reshape(rows, columns, height, width, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


class SummaryWriter:
    """Writes scalars, histograms, images and texts of a run to ``log_dir`` (default: ``runs/<date>_<host><comment>``).

    Args:
        purge_step: TensorBoard forgets events of this step and later ones that an earlier run wrote.
        max_queue, flush_secs: accepted; events are flushed by :meth:`flush`, :meth:`close` and every ``flush_secs``
            seconds at the next event.
    """

    def __init__(
        self, log_dir=None, comment: str = "", purge_step: int | None = None, max_queue: int = 10,
        flush_secs: float = 120, filename_suffix: str = "",
    ):  # fmt: skip
        if not log_dir:
            log_dir = os.path.join("runs", f"{datetime.now():%b%d_%H-%M-%S}_{socket.gethostname()}{comment}")
        self.log_dir, self.flush_secs, self._suffix = os.fspath(log_dir), flush_secs, filename_suffix
        self._writers: dict[str, SummaryWriter] = {}
        self._lock = threading.Lock()
        os.makedirs(self.log_dir, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
        self._file: io.BufferedWriter | None = open(os.path.join(self.log_dir, name + filename_suffix), "wb")
        self._flushed = time.monotonic()
        self._event(_bytes(3, "brain.Event:2"), None)
        if purge_step is not None:
            self._event(_bytes(7, _int(1, 1)), purge_step)  # a run starts here

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def _event(self, what: bytes, step: int | None, walltime: float | None = None) -> None:
        data = _double(1, time.time() if walltime is None else walltime)
        data += (b"" if step is None else _int(2, int(step))) + what
        with self._lock:
            if self._file is None:
                raise ValueError("the SummaryWriter is closed")
            self._file.write(_record(data))
            if time.monotonic() - self._flushed > self.flush_secs:
                self._file.flush()
                self._flushed = time.monotonic()

    def _summary(self, tag: str, value: bytes, step, walltime, plugin: str | None = None, content=b"") -> None:
        metadata = _bytes(9, _bytes(1, _bytes(1, plugin) + (_bytes(2, content) if content else b""))) if plugin else b""
        self._event(_bytes(5, _bytes(1, _bytes(1, tag) + value + metadata)), step, walltime)

    def add_scalar(
        self, tag: str, scalar_value, global_step=None, walltime=None, new_style: bool = False,
        double_precision: bool = False,
    ) -> None:  # fmt: skip
        """One number."""
        value = _array(scalar_value)
        if value.size != 1:
            raise ValueError(f"add_scalar takes one number, got a tensor of shape {value.shape}")
        self._summary(tag, _float(2, float(value.reshape(()))), global_step, walltime, "scalars" if new_style else None)

    def add_scalars(self, main_tag: str, tag_scalar_dict: dict, global_step=None, walltime=None) -> None:
        """Several numbers for one diagram: each is a run of its own, in a subfolder."""
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, f"{main_tag.replace('/', '_')}_{tag}")
            if folder not in self._writers:
                self._writers[folder] = SummaryWriter(folder, filename_suffix=self._suffix)
            self._writers[folder].add_scalar(main_tag, value, global_step, walltime)

    def add_histogram(self, tag: str, values, global_step=None, bins=64, walltime=None, max_bins=None) -> None:
        """The distribution of values: ``bins`` is a number, edges, or one of NumPy's rules."""
        values = _array(values).astype(np.float64).reshape(-1)
        if not values.size:
            raise ValueError("The input has no element.")
        counts, edges = np.histogram(values, bins="auto" if bins == "tensorflow" else bins)
        histogram = _double(1, values.min()) + _double(2, values.max()) + _double(3, values.size)
        histogram += _double(4, values.sum()) + _double(5, (values**2).sum())
        histogram += _doubles(6, edges[1:]) + _doubles(7, counts)
        self._summary(tag, _bytes(5, histogram), global_step, walltime)

    def add_image(self, tag: str, img_tensor, global_step=None, walltime=None, dataformats: str = "CHW") -> None:
        """One image: uint8, or floats from 0 to 1; ``dataformats`` names its axes ("CHW", "HWC" or "HW")."""
        image, axes = _array(img_tensor), dataformats.upper()
        if sorted(axes) not in (["C", "H", "W"], ["H", "W"]) or image.ndim != len(axes):
            raise ValueError(f"add_image: dataformats {dataformats!r} does not fit an image of shape {image.shape}")
        if "C" not in axes:
            image, axes = image[..., None], axes + "C"
        image = image.transpose([axes.index(a) for a in "HWC"])
        if image.shape[2] not in (1, 3):
            raise ValueError(f"add_image: an image has 1 or 3 channels, got {image.shape[2]}")
        if image.dtype != np.uint8:
            image = (image.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
        height, width, channels = image.shape
        data = _int(1, height) + _int(2, width) + _int(3, channels) + _bytes(4, _png(np.ascontiguousarray(image)))
        self._summary(tag, _bytes(4, data), global_step, walltime)

    def add_images(self, tag: str, img_tensor, global_step=None, walltime=None, dataformats: str = "NCHW") -> None:
        """Several images of one size, side by side in a grid as square as can be."""
        images, axes = _array(img_tensor), dataformats.upper()
        if "N" not in axes or images.ndim != len(axes):
            raise ValueError(f"add_images: dataformats {dataformats!r} does not fit images of shape {images.shape}")
        if "C" not in axes:
            images, axes = images[..., None], axes + "C"
        images = images.transpose([axes.index(a) for a in "NHWC"])
        self.add_image(tag, _grid(images), global_step, walltime, "HWC")

    def add_figure(self, tag: str, figure, global_step=None, close: bool = True, walltime=None) -> None:
        """A figure of Matplotlib (several: side by side), which is closed unless told otherwise."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figures = figure if isinstance(figure, list) else [figure]
        pictures = []
        for f in figures:
            canvas = FigureCanvasAgg(f)
            canvas.draw()
            pictures.append(np.asarray(canvas.buffer_rgba())[..., :3])
            if close:
                import matplotlib.pyplot as plt

                plt.close(f)
        self.add_image(tag, _grid(np.stack(pictures)), global_step, walltime, "HWC")

    def add_audio(self, tag: str, snd_tensor, global_step=None, sample_rate: int = 44100, walltime=None) -> None:
        """Sound: values in [-1, 1], of one channel; values outside are cut."""
        sound = _array(snd_tensor).astype(np.float64).reshape(-1, 1).clip(-1, 1)
        data = _float(1, sample_rate) + _int(2, 1) + _int(3, len(sound))
        data += _bytes(4, _wav(sound, sample_rate)) + _bytes(5, "audio/wav")
        self._summary(tag, _bytes(6, data), global_step, walltime)

    def add_video(self, tag: str, vid_tensor, global_step=None, fps: int | float = 4, walltime=None) -> None:
        """Videos ``(N, T, C, H, W)`` side by side as an animated GIF, which Pillow makes (uint8, or 0 to 1)."""
        from PIL import Image

        videos = _array(vid_tensor)
        if videos.ndim != 5:
            raise ValueError(f"add_video takes (N, T, C, H, W), got a tensor of shape {videos.shape}")
        if videos.dtype != np.uint8:
            videos = (videos * 255).clip(0, 255).astype(np.uint8)
        frames = [_grid(videos[:, t].transpose(0, 2, 3, 1)) for t in range(videos.shape[1])]
        height, width, channels = frames[0].shape
        pictures = [Image.fromarray(f if channels == 3 else f[..., 0]) for f in frames]
        out = io.BytesIO()
        pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=int(1000 / fps), loop=0)
        data = _int(1, height) + _int(2, width) + _int(3, channels) + _bytes(4, out.getvalue())
        self._summary(tag, _bytes(4, data), global_step, walltime)

    def add_hparams(
        self, hparam_dict: dict, metric_dict: dict, hparam_domain_discrete: dict | None = None, run_name=None,
        global_step=None,
    ) -> None:  # fmt: skip
        """Hyperparameters and the results they led to, as a run of its own in the subfolder ``run_name``."""
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        parts = summary.hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        with SummaryWriter(os.path.join(self.log_dir, run_name or str(time.time()))) as writer:
            for tag, content in parts:
                writer._summary(tag, b"", None, None, "hparams", content)
            for name, value in metric_dict.items():
                writer.add_scalar(name, value, global_step)

    def add_graph(self, model, input_to_model=None, verbose: bool = False, use_strict_trace: bool = True) -> None:
        """The modules of ``model`` and how tensors go from one to the next, found by running it."""
        self._event(_bytes(4, summary.graph(model, input_to_model, verbose)), None)

    def add_embedding(
        self, mat, metadata=None, label_img=None, global_step=None, tag: str = "default", metadata_header=None
    ) -> None:
        """Vectors ``(N, D)`` for the projector, with labels (or rows under a header) and images."""
        embedding.write(self.log_dir, _array(mat), metadata, label_img, global_step, tag, metadata_header)

    def add_pr_curve(
        self, tag: str, labels, predictions, global_step=None, num_thresholds: int = 127, weights=None, walltime=None
    ) -> None:  # fmt: skip
        """Precision and recall of binary labels, by thresholds on predictions from 0 to 1."""
        table, content = summary.pr_curve(_array(labels), _array(predictions), num_thresholds, weights)
        shape = _bytes(2, b"".join(_bytes(2, _int(1, n)) for n in table.shape))
        value = _bytes(8, _int(1, 1) + shape + _bytes(4, table.astype("<f4").tobytes()))
        self._summary(tag, value, global_step, walltime, "pr_curves", content)

    def add_text(self, tag: str, text_string: str, global_step=None, walltime=None) -> None:
        """A text, shown as Markdown."""
        shape = _bytes(2, _bytes(2, _int(1, 1)))
        value = _bytes(8, _int(1, 7) + shape + _bytes(8, text_string))  # a tensor of one string
        self._summary(tag + "/text_summary", value, global_step, walltime, "text")

    def flush(self) -> None:
        """Bring everything to the files."""
        for writer in (*self._writers.values(),):
            writer.flush()
        with self._lock:
            if self._file is not None:
                self._file.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush and close the files."""
        for writer in self._writers.values():
            writer.close()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


__all__ = ["SummaryWriter"]
