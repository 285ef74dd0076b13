"""The base of all models of the spec and the plan: they are immutable, and unknown fields are refused."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def _root_name(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    """Return a root's name as it is. Raises ValueError for a path, a common mistake."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(path, str) and any(sign in path for sign in "/\\~."):
        raise ValueError(
            f"root is a name from `roots`, not a path: give roots = {{photos = {path!r}}} and root = 'photos'"
        )
    return value


def _sides(value: Any) -> Any:  # noqa: ANN401 - not checked yet
    """Return a pair (height, width) as a table."""
    if isinstance(value, tuple | list) and len(value) == 2:  # noqa: PLR2004 - a pair
        return {"height": value[0], "width": value[1]}
    if value is None or isinstance(value, Mapping | BaseModel):
        return value
    raise ValueError("give a table with height and width, or the pair [height, width]")


#: The name of a root, for fields that refer to one.
RootName = Annotated[Name, BeforeValidator(_root_name)]
#: Takes a pair in place of a table that begins with `height` and `width`.
AsSides = BeforeValidator(_sides)
#: The path of a root, which may be given as a path object.
RootPath = Annotated[str, BeforeValidator(lambda path: os.fspath(path) if isinstance(path, os.PathLike) else path)]


class Model(BaseModel):
    """Base of the spec's models: immutable, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
