"""What CVAT holds, by name: tags, shapes, tracks and the labels that give them meaning.

Everything here is in CVAT's own terms and frame: pixels, origin top left, frame numbers relative
to the task. Classes and attributes go by their *names*, since ids of labels and attribute specs
change when a task moves into a project. Layouts of `points` (CVAT `ShapeType`):

rectangle   x0, y0, x1, y1 before rotation; `rotation` in degrees, clockwise about the centre
polygon     x, y of each corner; polyline and points alike
ellipse     centre x, centre y, rightmost x, topmost y
cuboid      8 corners as x, y (2D), or x, y, z, rx, ry, rz, sx, sy, sz and seven zeros (3D)
mask        run lengths, row by row inside the box, zeros first; then left, top, right, bottom,
            all four inclusive
skeleton    no points of its own: one `points` shape an element
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["tag", "shape", "track"]
ShapeType = Literal[
    "rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton"
]

# CVAT stores two values for one spec when two are sent; both are returned.
AttributeValue = str | tuple[str, ...]

# Structs here say gc=False: they are trees, so no collector need look at them. A large job is
# hundreds of thousands, and each full collection would stop the event loop for 0.1 s.


class Keyframe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One stored shape of a track; between two of them CVAT's clients interpolate."""

    frame: int
    type: str
    points: tuple[float, ...] = ()
    rotation: float = 0.0
    occluded: bool = False
    outside: bool = False
    z_order: int = 0
    attributes: dict[str, AttributeValue] = {}


class _Annotation(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="kind"
):
    """What a tag, a shape and a track have in common."""

    id: int
    frame: int
    label: str
    group: int = 0
    source: str = "manual"
    attributes: dict[str, AttributeValue] = {}


class Tag(_Annotation, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="tag"):
    """A class given to a whole frame."""


class Shape(_Annotation, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="shape"):
    """One shape on one frame."""

    # A plain string, not `ShapeType`: what a newer server invents is recorded all the same.
    type: str
    points: tuple[float, ...] = ()
    rotation: float = 0.0
    occluded: bool = False
    outside: bool = False
    z_order: int = 0
    score: float = 1.0
    elements: tuple[Shape, ...] = ()


class Track(_Annotation, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag="track"):
    """One object over many frames; `attributes` holds those that cannot change over time."""

    keyframes: tuple[Keyframe, ...] = ()
    elements: tuple[Track, ...] = ()


Annotation = Tag | Shape | Track


class AttributeSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One attribute of a class, as CVAT's label constructor knows it."""

    name: str
    input_type: str = "text"
    mutable: bool = True
    values: tuple[str, ...] = ()
    default_value: str = ""
    id: int = 0


class LabelSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One class of a task or project, with its attributes. `id` 0: not on a server yet."""

    name: str
    attributes: tuple[AttributeSpec, ...] = ()
    type: str = "any"
    color: str = ""
    id: int = 0
    sublabels: tuple[LabelSpec, ...] = ()


KINDS: dict[type, Kind] = {Tag: "tag", Shape: "shape", Track: "track"}


def kind_of(annotation: Annotation) -> Kind:
    """Name the kind of an annotation; with its id it is the key of it in its job."""
    return KINDS[type(annotation)]


class Named(msgspec.Struct, frozen=True, gc=False):
    """An annotation by its key in its job."""

    kind: Kind
    id: int


named = msgspec.json.Decoder(Named).decode
"""Return the key of a spelled annotation; the rest of it is passed over."""
