"""The frame of a picture: from shares of its width and height to coordinates, and the marks of its axes. Pure."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

ALONE = 10
"""The width of what is drawn for a single spot."""
Spot = tuple[float, float]
"""x and y in the units of the picture, from its upper left corner."""


class Tick(Struct, frozen=True):
    """A mark on an axis."""

    at: float
    label: str
    below: str = ""
    """A second line below the label."""
    is_minor: bool = False
    """Whether its label is left out on a narrow screen."""


class Frame(Struct, frozen=True, kw_only=True):
    """The size of a picture and the margins for its axes, in the units of the picture."""

    width: float = 720
    height: float = 280
    left: float = 74
    right: float = 16
    top: float = 14
    bottom: float = 34

    @property
    def end(self) -> float:
        return self.width - self.right

    @property
    def base(self) -> float:
        return self.height - self.bottom

    def x(self, share: float) -> float:
        return round(self.left + share * (self.end - self.left), 1)

    def y(self, share: float) -> float:
        """Return y for a share from 0 at the base to 1 at the top. A value beyond stays at the edge."""
        return round(self.base - min(1.0, max(0.0, share)) * (self.base - self.top), 1)


def text(value: float) -> str:
    """Return a coordinate without needless digits. A page has thousands of them."""
    return f"{value:.1f}".removesuffix(".0")


def line(spots: Sequence[Spot]) -> str:
    """Return the path through the spots. A single spot becomes a short stroke, as a dot can hardly be seen."""
    if not spots:
        return ""
    if len(spots) == 1:
        ((x, y),) = spots
        return f"M{text(x - ALONE / 2)} {text(y)}h{text(ALONE)}"
    return "M" + "L".join(f"{text(x)} {text(y)}" for x, y in spots)


def lines(spots: Iterable[Spot | None]) -> str:
    """Return the path through the spots, broken at each None."""
    paths: list[str] = []
    run: list[Spot] = []
    for spot in [*spots, None]:
        if spot is not None:
            run.append(spot)
        elif run:
            paths.append(line(run))
            run = []
    return "".join(paths)


def band(edges: Iterable[tuple[float, float, float] | None]) -> str:
    """Return the closed paths between lower and upper edges, given as (x, lower y, upper y); broken at each None."""
    paths: list[str] = []
    run: list[tuple[float, float, float]] = []
    for edge in [*edges, None]:
        if edge is not None:
            run.append(edge)
        elif run:
            if len(run) == 1:
                ((x, low, high),) = run
                run = [(x - ALONE / 2, low, high), (x + ALONE / 2, low, high)]
            outline = [(x, high) for x, _, high in run] + [(x, low) for x, low, _ in reversed(run)]
            paths.append(line(outline) + "Z")
            run = []
    return "".join(paths)


def quarters(frame: Frame, top: float | None = None) -> list[Tick]:
    """Return the marks of a vertical axis: in per cent, or up to a top for numbers."""
    return [
        Tick(frame.y(n / 4), f"{n * 25} %" if top is None else f"{top * n / 4:.3g}", is_minor=n in (1, 3))
        for n in range(5)
    ]
