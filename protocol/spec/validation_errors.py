"""Turns a validation error into one line that a user can act on: file, field, value, what is allowed."""

import difflib
import typing
from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from penstock.protocol.spec.operation import literal
from penstock.protocol.spec.operation_table import model_of_step
from penstock.protocol.spec.source import Source, model_of
from penstock.protocol.spec.step import Step

Models = dict[str, type[BaseModel]]


def explain(name: str, problem: ErrorDetails, model: type[BaseModel], data: object) -> str:
    """Return what is wrong with one field of the file `name`, whose content `data` was checked as `model`."""
    where: list[str] = []
    models: Models = {"": model}
    for part in problem["loc"]:
        if str(part) in models:  # pydantic names the union's branch here, which the file does not have
            models = {"": models[str(part)]}
            continue
        where.append(str(part))
        data = _inside(data, part)
        if models.get("") is Step and (step := model_of_step(data)):
            models = {"": step}
        field = models[""].model_fields.get(str(part)) if "" in models else None
        if field:
            models = _models_in(field.annotation) or models
            if models.get("") is Source:
                models = {"": model_of(data)}
    dotted = ".".join(where)
    match problem["type"]:
        case "extra_forbidden":
            known = sorted(models[""].model_fields) if "" in models else []
            near = difflib.get_close_matches(where[-1], known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            return f"{name}: {dotted} = {problem['input']!r}: unknown field; {hint}allowed: {', '.join(known)}"
        case "missing":
            return f"{name}: {dotted}: this field is required"
        case "model_type" | "model_attributes_type" | "dict_type":
            shown = f"{dotted} = {problem['input']!r}" if dotted else "the file"
            example = _example(models.get("")) if problem["type"] == "model_type" else ""
            return f"{name}: {shown}: must be a table{example}"
        case _:
            shown = "" if isinstance(problem["input"], Mapping) else f" = {problem['input']!r}"
            message = problem["msg"].removeprefix("Value error, ")
            return f"{name}: {f'{dotted}{shown}' if dotted else 'the file'}: {message}"


def _example(model: type[BaseModel] | None) -> str:
    """Return what a table of a model looks like: the fields that it must have; its fields if it must have none."""
    if model is None:
        return ""
    needed = [field for field, about in model.model_fields.items() if about.is_required()]
    if needed:
        return f" such as {{ {', '.join(f'{field} = …' for field in needed)} }}"
    return f"; its fields are {', '.join(sorted(model.model_fields))}"


def _inside(data: object, part: str | int) -> object:
    """Return an entry of a table or a list; None for another value or without such an entry."""
    if isinstance(data, Mapping):
        return data.get(part)
    if isinstance(data, Sequence) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _models_in(annotation: object) -> Models:
    """Return the models inside an annotation such as `dict[str, Stream]`: one under "", several by `kind` or `op`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {"": annotation}
    found = [model for argument in typing.get_args(annotation) for model in _models_in(argument).values()]
    if len(found) == 1:
        return {"": found[0]}
    return {literal(model, "kind" if "kind" in model.model_fields else "op"): model for model in found}
