"""Boxes as arrays: overlaps, suppression, anchors, coding, frames.

NumPy only, for Python 3.8: what finds objects on a device or in an app is this code, too. A box is
x0, y0, x1, y1 in pixels: left, upper, right and lower edge, so that its width is x1 - x0.
"""

from edgekit.boxes.anchors import grid_points, kmeans_anchors, ssd_anchors, ssd_scales
from edgekit.boxes.coding import VARIANCES, clip, decode, encode
from edgekit.boxes.frames import Geometry, geometry, to_frame, to_image
from edgekit.boxes.overlap import area, iou, shared_area
from edgekit.boxes.suppress import (
    MOST_CANDIDATES,
    Selected,
    Softened,
    batched_nms,
    nms,
    select,
    soft_nms,
)

__all__ = [
    "MOST_CANDIDATES",
    "VARIANCES",
    "Geometry",
    "Selected",
    "Softened",
    "area",
    "batched_nms",
    "clip",
    "decode",
    "encode",
    "geometry",
    "grid_points",
    "iou",
    "kmeans_anchors",
    "nms",
    "select",
    "shared_area",
    "soft_nms",
    "ssd_anchors",
    "ssd_scales",
    "to_frame",
    "to_image",
]
