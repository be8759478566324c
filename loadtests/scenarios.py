"""What is sent: named scenarios, each one thing away from the plain one of its route."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Literal
from urllib.parse import urlencode

from loadtests.pictures import Picture, make_picture
from loadtests.upload import Upload, multipart

Route = Literal["detect", "mask"]
METHODS = ("gaussian", "pixelate", "solid", "elliptical")
SIZES = (0.3, 2.0, 12.0, 24.0)  # megapixels
FACES = (0, 1, 20, 400)
USUAL_SIZE, USUAL_FACES = 2.0, 1
ADMIN_RATE = 10.0
ADMIN_PATHS = ("admin/stats", "admin/jobs?per_page=20", "admin/images?per_page=20", "admin/api-keys")
"""What the console's pages ask for."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of traffic."""

    name: str
    group: str  # heading in a report
    route: Route
    query: Mapping[str, str] = field(default_factory=dict)
    megapixels: float = USUAL_SIZE
    faces: int = USUAL_FACES
    is_multipart: bool = False
    keep_alive: bool = True
    is_stored: bool = False
    admin_rate: float = 0.0  # requests a second to the admin API beside it

    @property
    def path(self) -> str:
        """Path and query of its requests."""
        query = {**self.query, **({} if self.is_stored else {"store": "none"})}
        return f"/api/v1/{self.route}" + (f"?{urlencode(query)}" if query else "")

    def uploads(self, pictures: Sequence[Picture]) -> list[Upload]:
        """The bodies it sends in turn."""
        if self.is_multipart:
            return [multipart(picture.data, picture.content_type) for picture in pictures]
        return [Upload(picture.data, picture.content_type) for picture in pictures]

    def generated(self, seed: int) -> list[Picture]:
        """The picture it sends where the user has none of his own."""
        return [make_picture(self.megapixels, self.faces, seed)]


def scenarios() -> list[Scenario]:
    """All of them; the first of each route is the plain one."""
    found = []
    routes: tuple[Route, ...] = ("detect", "mask")
    for route in routes:
        plain = Scenario(route, "plain", route)
        found.append(plain)
        if route == "mask":
            found += [
                replace(plain, name=f"mask, {method}", group="method", query={"method": method})
                for method in METHODS[1:]
            ]
        found += [
            replace(plain, name=f"{route}, {size:g} MP", group="size", megapixels=size)
            for size in SIZES
            if size != USUAL_SIZE
        ]
        found += [
            replace(plain, name=f"{route}, {count} faces", group="faces", faces=count)
            for count in FACES
            if count != USUAL_FACES
        ]
        found += [
            replace(plain, name=f"{route}, multipart", group="transport", is_multipart=True),
            replace(plain, name=f"{route}, new connections", group="transport", keep_alive=False),
            replace(plain, name=f"{route}, stored", group="storage", is_stored=True),
        ]
    name = "detect, stored, with admin traffic"
    return [*found, replace(found[0], name=name, group="admin", is_stored=True, admin_rate=ADMIN_RATE)]


def chosen(patterns: Sequence[str]) -> list[Scenario]:
    """Those whose name is one of these, or fits one, such as `mask*`; all without any.

    SystemExit for a pattern that fits none.
    """
    everything = scenarios()
    for pattern in patterns:
        if not any(fnmatch(scenario.name, pattern) for scenario in everything):
            known = "\n  ".join(scenario.name for scenario in everything)
            raise SystemExit(f"no scenario is called {pattern!r}; there are\n  {known}")
    return [s for s in everything if not patterns or any(fnmatch(s.name, p) for p in patterns)]


def of_own_pictures(wanted: Sequence[Scenario]) -> list[Scenario]:
    """Without those that only differ in the picture: the user's own take its place."""
    return [scenario for scenario in wanted if scenario.group not in {"size", "faces"}]
