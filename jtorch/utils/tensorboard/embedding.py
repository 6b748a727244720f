"""What the projector reads: vectors and labels as tables, images as one sprite, and a configuration that names them."""

from __future__ import annotations

import os

import numpy as np

from .records import _png
from .summary import image_size


def _rows(path: str, rows) -> None:
    temporary = path + ".tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)
    os.replace(temporary, path)


def _sprite(path: str, images) -> tuple[int, int]:
    images = images.detach().cpu().numpy() if hasattr(images, "detach") else np.asarray(images)
    if images.dtype != np.uint8:
        images = (images.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
    count, channels, height, width = images.shape
    side = image_size(count)
    cells = np.concatenate([images, np.zeros((side * side - count, channels, height, width), np.uint8)])
    whole = cells.reshape(side, side, channels, height, width).transpose(0, 3, 1, 4, 2)
    with open(path, "wb") as file:
        file.write(_png(np.ascontiguousarray(whole.reshape(side * height, side * width, channels))))
    return width, height


def write(folder: str, matrix, metadata, images, step, tag: str, header) -> None:
    """Write the files of one embedding below ``folder``, and add it to ``projector_config.pbtxt``.

    Raises:
        ValueError: there are not as many labels or images as vectors.
    """
    place = f"{str(0 if step is None else step).zfill(5)}/{tag.translate(str.maketrans({'/': '%%', chr(92): '%%'}))}"
    target = os.path.join(folder, place)
    os.makedirs(target, exist_ok=True)
    if matrix.ndim != 2:
        raise ValueError("mat should be 2D, where mat.size(0) is the number of data points")
    lines = [f'tensor_name: "{tag}:{place.partition("/")[0]}"', f'tensor_path: "{place}/tensors.tsv"']
    if metadata is not None:
        if len(metadata) != len(matrix):
            raise ValueError("#labels should equal with #data points")
        rows = [header, *metadata] if header else [(x,) for x in metadata]
        _rows(os.path.join(target, "metadata.tsv"), rows)
        lines.append(f'metadata_path: "{place}/metadata.tsv"')
    if images is not None:
        if len(images) != len(matrix):
            raise ValueError("#images should equal with #data points")
        width, height = _sprite(os.path.join(target, "sprite.png"), images)
        lines.append(f'sprite {{\n  image_path: "{place}/sprite.png"\n  single_image_dim: {width}\n'
                     f"  single_image_dim: {height}\n}}")  # fmt: skip
    _rows(os.path.join(target, "tensors.tsv"), matrix.tolist())
    with open(os.path.join(folder, "projector_config.pbtxt"), "a", encoding="utf-8") as file:
        body = "\n".join("  " + line for line in "\n".join(lines).split("\n"))
        file.write(f"embeddings {{\n{body}\n}}\n")
