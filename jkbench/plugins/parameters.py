"""A plugin's parameters: types, defaults and bounds, checked without importing the plugin."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from jkbench.errors import TOO_DEEP, Collector, UserError, unknown
from jkbench.plugins.describe import Parameter, Plugin
from jkbench.plugins.method import Depth, Deviation, Weight
from jkbench.plugins.ranges import Range

_NAMES: dict[str, Any] = {
    "Weight": Weight,
    "Deviation": Deviation,
    "Depth": Depth,
    "Annotated": Annotated,
    "Literal": Literal,
    "Field": Field,
    **{kind.__name__: kind for kind in (int, float, str, bool, tuple)},
}
_BOUNDS = {"ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "allow_inf_nan", "description", "title"}
"""What a `Field` is read with; pydantic would let a misspelt bound pass."""
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
}


def _evaluate(node: ast.expr) -> Any:
    """The value of an annotation or default made of the names above and constants; ValueError for other code."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name() if node.id in _NAMES:
            return _NAMES[node.id]
        case ast.Tuple():
            return tuple(_evaluate(item) for item in node.elts)
        case ast.UnaryOp(op=ast.USub()):
            return -_evaluate(node.operand)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            return _computed(node.op, _evaluate(node.left), _evaluate(node.right))
        case ast.Subscript():
            return _evaluate(node.value)[_evaluate(node.slice)]
        case ast.Call(func=ast.Name(id="Field"), args=[]) if {each.arg for each in node.keywords} <= _BOUNDS:
            return Field(**{str(keyword.arg): _evaluate(keyword.value) for keyword in node.keywords})
    raise ValueError(ast.unparse(node))


def _computed(sign: ast.operator, left: Any, right: Any) -> Any:
    """ValueError where the result would have thousands of digits."""
    most = {ast.Pow: 64, ast.Mult: 2**63}.get(type(sign))
    if most and not (abs(left) <= 2**63 and abs(right) <= most):
        raise ValueError("too large")
    return _OPERATORS[type(sign)](left, right)


def model(plugin: Plugin) -> type[BaseModel]:
    """The pydantic model of a plugin's parameters, as its class will have them. `UserError` with file:line."""
    return _model(plugin.path, plugin.line, plugin.class_name or plugin.name, plugin.parameters)


@cache
def _model(path: Path, line: int, name: str, parameters: tuple[Parameter, ...]) -> type[BaseModel]:
    """Built once for a plugin: its parameters follow from its code."""
    fields: Any = {parameter.name: _field(path, parameter) for parameter in parameters}
    try:
        built: type[BaseModel] = create_model(
            name, __config__=ConfigDict(extra="forbid", validate_default=True), **fields
        )
        built()
    except ValidationError as error:
        first = error.errors()[0]
        at = next((p.line for p in parameters if p.name == first["loc"][0]), line)
        raise UserError(f"{path}:{at}: default of {first['loc'][0]!r}: {first['msg']}") from None
    except (TypeError, NameError) as error:
        raise UserError(f"{path}:{line}: its parameters cannot be read: {error}") from None
    return built


def _field(path: Path, parameter: Parameter) -> tuple[Any, Any]:
    values = []
    for text in (parameter.annotation, parameter.default or "None"):
        try:
            values.append(_evaluate(ast.parse(text, mode="eval").body))
        except (ValueError, TypeError, ArithmeticError):
            raise UserError(
                f"{path}:{parameter.line}: parameter {parameter.name!r}: cannot read {text!r} without importing",
                f"types and defaults are written with {', '.join(_NAMES)} and constants",
            ) from None
    return values[0], values[1]


def unbounded(plugin: Plugin) -> list[str]:
    """Parameters of a plain type, which take any number or any text."""
    fields = model(plugin).model_fields.items()
    return [name for name, field in fields if field.annotation in (int, float, str) and not field.metadata]


_USUAL = {"Weight": Range(1e-4, 1e2), "Deviation": Range(1e-3, 1e1)}


def tunable(plugin: Plugin) -> dict[str, Range]:
    """The range of each parameter that can be tuned: as the method's ``ranges`` say, or of a `Weight` or `Deviation`.

    A weight that is the method's ``unit`` has none.
    `UserError` with file:line where the parameter does not take an end of its range.
    """
    found = {}
    for parameter in plugin.parameters:
        given = plugin.facts["ranges"].get(parameter.name, ())
        usual = _USUAL.get(parameter.annotation)
        if given:
            low, high, *linear = given
            found[parameter.name] = Range(low, high, log=not linear)
            for end in (low, high):
                validate(plugin, {parameter.name: end}, f"{plugin.path}:{parameter.line}: its range")
        elif given is not None and usual and parameter.name != plugin.facts["unit"]:
            found[parameter.name] = usual
    return found


def widened(plugin: Plugin, name: str, each: Range, side: str | None) -> Range:
    """A parameter's range, wider on that side where the parameter takes what the wider range ends with."""
    wider, whole = each.widened(side), type(validate(plugin, {})[name]) is int
    try:
        for end in (wider.low, wider.high):
            validate(plugin, {name: round(end) if whole else end})
    except UserError:
        return each
    return wider


def validate(plugin: Plugin, given: dict[str, Any], where: str = "") -> dict[str, Any]:
    """All parameters of the plugin with ``given`` set; `UserError` names every wrong one, and what would be right."""
    built = model(plugin)
    place = where or plugin.name
    with Collector() as problems:
        for name in given:
            if name not in built.model_fields:
                error = unknown("parameter", name, built.model_fields)
                problems.add(UserError(f"{place}: {error.message}", error.hint))
        known = {name: value for name, value in given.items() if name in built.model_fields}
        try:
            values = built.model_validate(known).model_dump(mode="json")
        except ValidationError as error:
            for entry in error.errors():
                name = str(entry["loc"][0])
                written = next(p for p in plugin.parameters if p.name == name)
                problems.add(
                    UserError(
                        f"{place}: {name}={entry['input']}: {entry['msg']}",
                        f"{name} is {written.annotation}, by default {written.default}",
                    )
                )
    return values


def parse(text: str) -> list[tuple[str, dict[str, Any]]]:
    """``'jacobian[ce=0,jac=0.5],distill'`` → [(name, parameters), …]; `UserError` for any other form."""
    chosen = []
    for item in _split(text):
        name, bracket, rest = item.partition("[")
        parameters: dict[str, Any] = {}
        if bracket:
            for pair in _split(rest[:-1]):
                key, equals, value = pair.partition("=")
                if not equals or not key.strip() or not value.strip():
                    raise UserError(f"{item!r}: {pair!r} is not NAME=VALUE", "write method[ce=0,jac=0.5]")
                if key.strip() in parameters:
                    raise UserError(f"{item!r}: {key.strip()} is given twice", "give each parameter once")
                parameters[key.strip()] = _value(value.strip())
        chosen.append((name.strip(), parameters))
    return chosen


def method_of(label: str) -> str:
    """The method of a row: ``jacobian`` of ``jacobian[jac=0.5]``."""
    return label.partition("[")[0]


def _split(text: str) -> list[str]:
    """Parts between commas that stand outside brackets."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text + ","):
        depth += (sign == "[") - (sign == "]")
        if depth < 0 or depth > 1:
            break
        if sign == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    malformed = any(part.count("[") != part.endswith("]") for part in parts)
    if depth or malformed:
        raise UserError(f"{text!r}: the brackets do not match", "write method[ce=0,jac=0.5],other")
    return [part for part in parts if part]


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, *TOO_DEEP):
        return text


def label(name: str, parameters: dict[str, Any], usual: dict[str, Any], shown: set[str]) -> str:
    """A row's name: the method with the parameters that differ from the usual ones, and those always ``shown``."""
    told = {key: value for key, value in parameters.items() if key in shown or value != usual.get(key)}
    return f"{name}[{','.join(written(told))}]" if told else name


def written(parameters: Mapping[str, Any], equals: str = "=") -> list[str]:
    """Parameters as text, ``jac=0.5``: labels and pages show the same."""
    return [f"{key}{equals}{_text(value)}" for key, value in parameters.items()]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
