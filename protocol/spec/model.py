"""What all models of the spec and the plan share: they are immutable, and no field passes unread."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Model(BaseModel):
    """Base of the spec's models: immutable, and no field passes unread."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
