"""A folder of IDX files, as MNIST and Fashion-MNIST are distributed, gzipped or not.

The format: two zero bytes, a type byte, the number of dimensions, each dimension as a big-endian 32-bit
integer, then the values, big-endian (Y. LeCun, "The MNIST database of handwritten digits").
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlab.base.errors import DataError, Problem
from gradlab.base.user_file import READABLE, Unfit, check_room, open_file
from gradlab.data.columns import classes
from gradlab.data.dataset import Samples

if TYPE_CHECKING:
    from gradlab.data.dataset import Floats

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
FILE_NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
MOST_AXES = 32
BYTES_A_NUMBER = 16
"""What a pixel takes while it is read: twice as float64."""
EXPECTED = "train-images-idx3-ubyte and train-labels-idx1-ubyte (and t10k-...), each with or without .gz"


def load_folder(folder: Path, source: str) -> Samples:
    """The images of `folder`, flattened to [rows, pixels], and their labels.

    With both parts, `train` and `t10k`, the distributed test part is the validation part, so that accuracies
    compare with published ones; with `train` alone it is split like every other data set. Raises DataError
    for a missing, damaged or mismatching file.
    """
    files = idx_files(folder, source)
    x, labels = _part(files, "train", source)
    where = f"{source}: {files['train-labels'].name}"
    y, class_names = classes(pd.Series(labels), where)
    if "t10k-images" not in files:
        return Samples(x, y, class_names)
    x_val, labels_val = _part(files, "t10k", source)
    where = f"{source}: {files['t10k-labels'].name}"
    if x_val.shape[1] != x.shape[1]:
        message = f"train has {x.shape[1]} pixels an image, t10k {x_val.shape[1]}"
        raise DataError(Problem(source, message, "as many in both"))
    known = {name: number for number, name in enumerate(class_names)}
    new = sorted({str(label) for label in labels_val} - set(known))
    if new:
        raise DataError(
            Problem(where, f"class {', '.join(new)} is not in the training part", "classes that are")
        )
    y_val = np.array([known[str(label)] for label in labels_val], dtype=np.int64)
    return Samples(x, y, class_names, held_out=(x_val, y_val))


def idx_files(folder: Path, source: str) -> dict[str, Path]:
    """The IDX files of `folder` by role (`train-images`, `train-labels`, and both or neither of `t10k-...`).

    Where a file is there twice, plain and gzipped, the plain one counts. Raises DataError for a missing one.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        match = FILE_NAME.fullmatch(path.name)
        if match:
            files.setdefault(f"{match[1]}-{match[2]}", path)
    needed = ["train-images", "train-labels"]
    if any(role.startswith("t10k") for role in files):
        needed += ["t10k-images", "t10k-labels"]
    missing = [role for role in needed if role not in files]
    if missing:
        raise DataError(Problem(source, f"the folder has no IDX file of {' and '.join(missing)}", EXPECTED))
    return files


def read_idx(path: Path, source: str) -> NDArray[Any]:
    """The array in one IDX file, of the shape and type that its header states. Raises DataError."""
    try:
        with open_file(path) as file, _unpacked(file, path) as stream:
            magic = stream.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
                raise DataError(
                    Problem(
                        source,
                        f"its first four bytes are {magic.hex(' ') or 'missing'}, not an IDX header",
                        "00 00, a type (08 for bytes) and the number of dimensions",
                    )
                )
            if magic[3] > MOST_AXES:
                raise DataError(Problem(source, f"its header states {magic[3]} dimensions", "32 at most"))
            sizes = stream.read(4 * magic[3])
            if len(sizes) < 4 * magic[3]:
                raise DataError(Problem(source, "the file ends inside its header", hint="download it again"))
            shape = [int(size) for size in np.frombuffer(sizes, dtype=">u4")]
            dtype = np.dtype(TYPES[magic[2]])
            expected = prod(shape) * dtype.itemsize
            if (
                path.suffix == ".gz" or os.fstat(file.fileno()).st_size > expected
            ):  # else the file is too short
                check_room(prod(shape) * BYTES_A_NUMBER, f"its header states {shape}, which take")
            # one more than stated, and bit by bit: a damaged header may state any number
            values = _at_most(stream, expected + 1)
    except Unfit as error:
        raise DataError(Problem(source, str(error), READABLE)) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(Problem(source, f"it cannot be read: {error}", hint="download it again")) from error
    if len(values) != expected:
        raise DataError(
            Problem(
                source,
                f"its header states {shape}, {expected} bytes, and it holds "
                + (f"{len(values)}" if len(values) < expected else "more"),
                hint="download it again",
            )
        )
    return np.frombuffer(values, dtype=dtype).reshape(shape)


def _unpacked(file: BufferedReader, path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file


def _at_most(stream: gzip.GzipFile | BufferedReader, count: int) -> bytes:
    """So many bytes, or all there are."""
    parts, left = [], count
    while left and (part := stream.read(min(left, 1 << 24))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _part(files: dict[str, Path], part: str, source: str) -> tuple[Floats, NDArray[Any]]:
    """Inputs float64 [rows, pixels] and labels [rows] of `train` or `t10k`."""
    images, labels = files[f"{part}-images"], files[f"{part}-labels"]
    x = read_idx(images, f"{source}: {images.name}")
    y = read_idx(labels, f"{source}: {labels.name}")
    if y.ndim != 1 or y.dtype.kind not in "iu":
        shape = list(y.shape)
        raise DataError(
            Problem(f"{source}: {labels.name}", f"it holds {y.dtype} {shape}", "whole numbers, [rows]")
        )
    if len(x) != len(y) or x.size == 0:
        message = f"{images.name} has {len(x)} images and {labels.name} {len(y)} labels"
        raise DataError(Problem(source, message, "one label an image, at least one pixel"))
    flat = x.reshape(len(x), -1).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(flat.sum(axis=1)))
    if bad.size:
        message = f"image {bad[0] + 1} of {len(x)} has a pixel that is not finite"
        raise DataError(Problem(f"{source}: {images.name}", message, "finite numbers"))
    return flat, y.astype(np.int64)
