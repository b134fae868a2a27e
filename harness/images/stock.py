"""The images of ours an engine has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import docker.errors

from harness.images.recipes import KIND
from harness.runtime.docker.engine import Engine, engine_errors

__all__ = ["OwnImage", "own_images", "remove_image"]


@dataclass(frozen=True, slots=True)
class OwnImage:
    """An image the harness has made.

    Attributes:
        kind: "debian", "tools", "rabbitmq", "builder", "wheel", "stack", or "stage" for what is left of building one.
        name: its name, or the beginning of its id where it has none.
        id: its identity.
        size: bytes, including what it shares with others.
        created_s: when it was made, seconds since 1970.
        used: whether a container uses it.
    """

    kind: str
    name: str
    id: str
    size: int
    created_s: int
    used: bool


def own_images(engine: Engine) -> list[OwnImage]:
    """All images of ours, newest first, so that what is built from others precedes them. Raises LabFailure."""
    api: Any = engine.api
    with engine_errors("looking for images"):
        used = {one["ImageID"] for one in api.containers(all=True)}
        found = api.images(filters={"label": KIND})
    images = []
    for one in found:
        tags = [tag for tag in one.get("RepoTags") or () if tag != "<none>:<none>"]
        images += [
            OwnImage(
                kind=one["Labels"][KIND] if tags else "stage",
                name=name,
                id=one["Id"],
                size=int(one["Size"]),
                created_s=int(one["Created"]),
                used=one["Id"] in used,
            )
            for name in tags or [one["Id"].rpartition(":")[2][:12]]
        ]
    return sorted(images, key=lambda one: (one.kind == "stage", -one.created_s))


def remove_image(engine: Engine, image: OwnImage) -> None:
    """Remove an image's name, and the image with its last; no error if it is gone already. Raises LabFailure."""
    with engine_errors(f"removing image {image.name}"):
        try:
            engine.api.remove_image(image.name)
        except docker.errors.ImageNotFound:
            pass
        except docker.errors.APIError as error:
            if error.status_code != 409:  # a stage that something else is built on goes with it
                raise
