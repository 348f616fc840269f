"""Find a free place for each label of a scatter plot: pure geometry in pixels, y pointing down.

It draws nothing and knows no charts library; the same input always gives the same places.

Idea: candidate positions around the point scored by preference, then repaired label by label, as in
Christensen, Marks and Shieber, "An Empirical Study of Algorithms for Point-Feature Label Placement"
(ACM Transactions on Graphics, 1995).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import cos, hypot, inf, pi, sin, sqrt

Segment = tuple[float, float, float, float]  # x1, y1, x2, y2

_GAP_PX = 3.0  # between a disc and its own label: close enough to read as one
_CLEARANCE_PX = 2.0  # the least distance between lines of text, and from a label to a foreign disc
_WORD_PX = 9.0  # the least distance between labels side by side: nearer, two read as one
_CROWDED_PX = 10.0  # a foreign disc nearer than this makes it unclear whose label it is
_LEVEL_PX = 26.0  # the same for a disc at the height of the text, where it reads as the disc's own
_RINGS_PX = (12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 92.0, 116.0)  # full: anywhere in the plot
_ANGLES = 16  # of candidates on a ring: neighbours overlap by half
_SWEEPS = 6  # repairs rarely change anything after the third
_WISHES = 24  # the cheapest places that another label may be asked to leave

# Costs in pixels of leader line: how much longer a line may be to avoid each.
_LEADER = 14.0  # a line at all
_CROSSES_DISC = 120.0  # it would seem to belong to that point
_CROSSES_LABEL = 120.0
_CROSSES_LEADER = 60.0
_UNPLACED = 1e6  # more than any place costs
_LEFT = 1.0  # a label to the right is read first,
_LIFTED = 3.0  # and best at the height of its point

# Widths of Helvetica, which Arial and Liberation Sans share, rounded up where few letters have them.
# Units: thousandths of the font size.
_WIDTHS = {
    222: "ijl'",
    278: " !,./:;I[\\]ft|",
    333: "()-`r",
    389: '"{}*',
    500: "Jcksvxyz^",
    556: "#$0123456789?L_abdeghnopqu",
    611: "FTZ+<=>~",
    667: "&ABEKPSVXY",
    722: "CDHNRUw",
    833: "GOQMm",
}
_WIDTH_OF = {character: width for width, characters in _WIDTHS.items() for character in characters}
_WIDEST = 1015  # of `@`, and taken for any character that is not listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A point drawn as a disc, and the size of its label: with none, it is only in the way. Units: pixels."""

    x: float
    y: float
    radius: float
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle. Units: pixels, `top` less than `bottom`."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def centre(self) -> tuple[float, float]:
        """The point to which a centred text is anchored."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def within(self, outer: Box) -> bool:
        """Whether no part of this box lies outside the other."""
        across = outer.left <= self.left and self.right <= outer.right
        return across and outer.top <= self.top and self.bottom <= outer.bottom

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the box that is nearest to another."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a label goes, and the line from its point where it is not next to it."""

    box: Box
    leader: Segment | None
    cost: float  # by itself, in pixels of leader line


def text_width(text: str, font_px: float) -> float:
    """Return the width in pixels of a text in Arial, Helvetica or Liberation Sans, or slightly more."""
    return sum(_WIDTH_OF.get(character, _WIDEST) for character in text) * font_px / 1000


def place_labels(targets: Sequence[Target], bounds: Box) -> tuple[Placement | None, ...]:
    """Return a place for each target's label, in the order given; None only where the plot is full.

    Placed labels stay within the bounds and overlap neither each other nor any disc. Leader lines
    avoid discs, labels and each other where they can.
    """
    return _Board(tuple(targets), bounds).solve()


class _Board:
    """The targets with the places chosen so far."""

    def __init__(self, targets: tuple[Target, ...], bounds: Box) -> None:
        self.targets, self.bounds = targets, bounds
        self.placed: dict[int, Placement] = {}
        self.near = {
            index: sorted(self._judged(index, _around(target)), key=lambda place: place.cost)
            for index, target in enumerate(targets)
            if target.width > 0
        }

    def solve(self) -> tuple[Placement | None, ...]:
        """Let each label choose in turn, then again until none finds a better place."""
        # Those with the fewest free places choose first: the others can still give way.
        order = sorted(self.near, key=lambda index: len(self.near[index]))
        for _ in range(_SWEEPS):
            before = dict(self.placed)
            for index in order:
                self.placed.pop(index, None)  # its own place must not stand in its way
                self._put(index, self._best(index))
            for index in order:
                self._displace(index)
            if self.placed == before:
                break
        for index in order:
            self._put(index, self.placed.get(index) or self._anywhere(index))
        return tuple(self.placed.get(index) for index in range(len(self.targets)))

    def _put(self, index: int, place: Placement | None) -> None:
        if place:
            self.placed[index] = place

    def _displace(self, index: int) -> None:
        """Take a better place from the one label in it, where both together gain by that."""
        mine = self.placed.pop(index, None)
        now = self._cost(mine)
        for place in self.near[index][:_WISHES]:
            if place.cost >= now:
                break
            holders = self._holders(place.box)
            if len(holders) != 1:
                continue
            theirs = self.placed.pop(holders[0])
            together = self._cost(mine) + self._cost(theirs)
            self.placed[index] = place
            other = self._best(holders[0])
            if other and self._cost(place) + self._cost(other) < together:
                self.placed[holders[0]] = other
                return
            del self.placed[index]
            self.placed[holders[0]] = theirs
        self._put(index, mine)

    def _judged(self, index: int, boxes: Iterable[tuple[Box, float | None]]) -> Iterator[Placement]:
        """Yield the boxes that lie within the bounds and on no disc as places with their costs."""
        target = self.targets[index]
        others = [*self.targets[:index], *self.targets[index + 1 :]]
        for box, preference in boxes:
            if not box.within(self.bounds) or _gap(box, target) < 0:
                continue
            gaps = [_gap(box, other) for other in others]
            if min(gaps, default=inf) < _CLEARANCE_PX:
                continue
            cost = sum(_doubt(box, other, gap) for other, gap in zip(others, gaps, strict=True))
            leader = _leader(target, box) if preference is None else None
            if leader:
                cost += _LEADER + _gap(box, target)
                cost += _CROSSES_DISC * sum(_passes(leader, other) for other in others)
            yield Placement(box=box, leader=leader, cost=cost + (preference or 0.0))

    def _best(self, index: int) -> Placement | None:
        """Return the cheapest free place near a target beside the labels placed now."""
        best, least = None, inf
        for place in self.near[index]:
            if place.cost >= least:
                break
            if not self._holders(place.box) and (cost := self._cost(place)) < least:
                best, least = place, cost
        return best

    def _anywhere(self, index: int) -> Placement | None:
        """Return the cheapest free place of the whole plot."""
        everywhere = _everywhere(self.targets[index], self.bounds)
        boxes = ((box, None) for box in everywhere if not self._holders(box))
        return min(self._judged(index, boxes), key=self._cost, default=None)

    def _holders(self, box: Box) -> list[int]:
        """Return the labels that a box overlaps or touches."""
        left, right = box.left - _WORD_PX, box.right + _WORD_PX
        top, bottom = box.top - _CLEARANCE_PX, box.bottom + _CLEARANCE_PX
        return [
            index
            for index, place in self.placed.items()
            if left < place.box.right
            and place.box.left < right
            and top < place.box.bottom
            and place.box.top < bottom
        ]

    def _cost(self, place: Placement | None) -> float:
        """Return what a place costs with the crossings of its leader and of the other labels'."""
        if place is None:
            return _UNPLACED
        cost = place.cost
        for other in self.placed.values():
            if other is not place:
                crossings = _cuts(place.leader, other.box) + _cuts(other.leader, place.box)
                cost += _CROSSES_LABEL * crossings + _CROSSES_LEADER * _cross(place.leader, other.leader)
        return cost


def _around(target: Target) -> Iterator[tuple[Box, float | None]]:
    """Yield the boxes next to a target with what each costs, then rings of boxes with None."""
    turns = [2 * pi * step / _ANGLES for step in range(_ANGLES)]
    for turn in turns:
        yield _at(target, _GAP_PX, turn), _LIFTED * abs(sin(turn)) + _LEFT * (cos(turn) < 0)
    for ring in _RINGS_PX:
        for turn in turns:
            yield _at(target, ring, turn), None


def _at(target: Target, gap: float, angle: float) -> Box:
    """Return the box at an angle: a side faces the point in the axes' directions, a corner between."""
    across, down = (max(-1.0, min(1.0, sqrt(2) * share)) for share in (cos(angle), sin(angle)))
    reach = (target.radius + gap) * (1.0 - 0.22 * abs(across * down))  # a disc leaves room at its corners
    x = target.x + across * (reach + target.width / 2)
    y = target.y + down * (reach + target.height / 2)
    return Box(x - target.width / 2, y - target.height / 2, x + target.width / 2, y + target.height / 2)


def _everywhere(target: Target, bounds: Box) -> Iterator[Box]:
    """Yield boxes that cover the bounds, half overlapping each other."""
    across, down = max(target.width / 2, 1.0), max(target.height / 2, 1.0)
    for line in range(int((bounds.bottom - bounds.top) / down)):
        for column in range(int((bounds.right - bounds.left) / across)):
            left, top = bounds.left + column * across, bounds.top + line * down
            yield Box(left, top, left + target.width, top + target.height)


def _gap(box: Box, disc: Target) -> float:
    """Return the distance from a box to a disc's edge, negative where they overlap."""
    x, y = box.nearest(disc.x, disc.y)
    return hypot(x - disc.x, y - disc.y) - disc.radius


def _doubt(box: Box, disc: Target, gap: float) -> float:
    """Return how easily a label is taken for that of a disc at some distance from it."""
    level = box.top < disc.y < box.bottom
    return max(0.0, (_LEVEL_PX if level else _CROWDED_PX) - gap)


def _leader(target: Target, box: Box) -> Segment:
    """Return the line from a disc's edge to the nearest point of its label."""
    x, y = box.nearest(target.x, target.y)
    share = target.radius / (hypot(x - target.x, y - target.y) or 1.0)
    return target.x + (x - target.x) * share, target.y + (y - target.y) * share, x, y


def _passes(line: Segment, disc: Target) -> bool:
    """Whether a line comes over a disc."""
    x1, y1, x2, y2 = line
    squared = (x2 - x1) ** 2 + (y2 - y1) ** 2
    along = ((disc.x - x1) * (x2 - x1) + (disc.y - y1) * (y2 - y1)) / (squared or 1.0)
    along = max(0.0, min(1.0, along))  # where on the line the disc is nearest
    return hypot(x1 + along * (x2 - x1) - disc.x, y1 + along * (y2 - y1) - disc.y) < disc.radius + 1.0


def _cuts(line: Segment | None, box: Box) -> bool:
    """Whether a line crosses a box: one of its diagonals, or starts within it."""
    if line is None or max(line[1], line[3]) < box.top or min(line[1], line[3]) > box.bottom:
        return False
    falling = (box.left, box.top, box.right, box.bottom)
    rising = (box.left, box.bottom, box.right, box.top)
    return _cross(line, falling) or _cross(line, rising) or box.nearest(*line[:2]) == line[:2]


def _cross(one: Segment | None, other: Segment | None) -> bool:
    """Whether two segments cross each other properly."""
    if one is None or other is None:
        return False
    parted = _side(one, other[0], other[1]) * _side(one, other[2], other[3]) < 0
    return parted and _side(other, one[0], one[1]) * _side(other, one[2], one[3]) < 0


def _side(line: Segment, x: float, y: float) -> float:
    """Return on which side of a line a point lies, by sign."""
    return (line[2] - line[0]) * (y - line[1]) - (line[3] - line[1]) * (x - line[0])
