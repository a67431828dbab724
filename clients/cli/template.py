"""Go's text/template as `--format` takes it; without it formats that people know from the docker CLI would not work.

What docker's own documentation uses of the language is here: fields, variables, pipelines, `if`, `range`, `with`, and
the functions below. Source: https://pkg.go.dev/text/template. (No kept library speaks the language without a Go
toolchain.)
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from typing_extensions import override

Value = Any  # what JSON can hold, and functions that are methods of a row


class TemplateError(Exception):
    """The template can't be understood or doesn't fit; the text says where."""


class _Missing:
    """The value of a key that isn't there."""

    def __bool__(self) -> bool:
        return False

    @override
    def __str__(self) -> str:
        return "<no value>"


MISSING = _Missing()
_ACTION = r"(?s)\{\{(-\s)?(.*?)(\s-)?\}\}"
# compiled where a format is given: every command would wait for it otherwise
_TOKEN = r"""(?x)\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<declare>:=)|(?P<assign>=)
    |(?P<variable>\$\w*)|(?P<field>\.\w+)|(?P<dot>\.)|(?P<word>\w+)|(?P<sign>[()|,]))"""
_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\\\": "\\", '\\"': '"'}
_OPENING = frozenset({"if", "range", "with"})


class Scope(NamedTuple):
    """Where `.` and `$` point, and the variables."""

    dot: Value
    variables: dict[str, Value]


Expression = Callable[[Scope], Value]
Node = Callable[[Scope], Iterator[str]]


def compile_template(text: str) -> Callable[[Value], str]:
    """A function that fills the template with a value. Raises TemplateError."""
    nodes, rest = _nodes(_pieces(text), 0, frozenset())
    del rest

    def fill(value: Value) -> str:
        return "".join(_run(nodes, Scope(value, {"$": value})))

    return fill


def unescape(text: str) -> str:
    r"""`\t` and `\n` as the docker CLI takes them in a format, outside of strings too."""
    return text.replace("\\t", "\t").replace("\\n", "\n")


# ---- pieces: text, and what stands between braces


def _pieces(text: str) -> list[tuple[bool, str]]:
    pieces: list[tuple[bool, str]] = []
    place, trim = 0, False
    for match in re.finditer(_ACTION, text):
        before = text[place : match.start()]
        before = before.lstrip() if trim else before
        pieces.append((False, before.rstrip() if match[1] else before))
        pieces.append((True, match[2].strip()))
        place, trim = match.end(), bool(match[3])
    rest = text[place:]
    if "{{" in rest:
        raise TemplateError("an action is not closed: }} is missing")
    pieces.append((False, rest.lstrip() if trim else rest))
    return pieces


def _nodes(pieces: list[tuple[bool, str]], place: int, ends: frozenset[str]) -> tuple[list[Node], int]:
    """Up to one of `ends`; the place is that of the end."""
    nodes: list[Node] = []
    while place < len(pieces):
        is_action, text = pieces[place]
        word = text.split(maxsplit=1)[0] if is_action and text else ""
        if is_action and word in ends:
            return nodes, place
        if not is_action:
            nodes.append(_literal(text))
        elif word in _OPENING:
            node, place = _block(pieces, place, word, text)
            nodes.append(node)
        elif word in ("end", "else"):
            raise TemplateError(f"unexpected {{{{{word}}}}}")
        elif not text.startswith("/*"):
            nodes.append(_action(text))
        place += 1
    if ends:
        raise TemplateError("unexpected EOF: an {{end}} is missing")
    return nodes, place


def _literal(text: str) -> Node:
    return lambda _: iter((text,))


def _run(nodes: Sequence[Node], scope: Scope) -> Iterator[str]:
    for node in nodes:
        yield from node(scope)


def _block(pieces: list[tuple[bool, str]], place: int, word: str, text: str) -> tuple[Node, int]:
    names, expression = _declaration(_Tokens(text.removeprefix(word)))
    body, place = _nodes(pieces, place + 1, frozenset({"else", "end"}))
    otherwise: list[Node] = []
    ending = pieces[place][1]
    if ending.startswith("else"):
        following = ending.removeprefix("else").strip()
        if following:  # `else if` is an `if` of its own whose end is shared
            node, place = _block(pieces, place, following.split(maxsplit=1)[0], following)
            return _BLOCKS[word](names, expression, body, [node]), place
        otherwise, place = _nodes(pieces, place + 1, frozenset({"end"}))
    return _BLOCKS[word](names, expression, body, otherwise), place


def _if(_: list[str], condition: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    return lambda scope: _run(body if _truth(condition(scope)) else otherwise, scope)


def _with(names: list[str], value: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def run(scope: Scope) -> Iterator[str]:
        found = value(scope)
        if not _truth(found):
            return _run(otherwise, scope)
        return _run(body, Scope(found, scope.variables | dict.fromkeys(names, found)))

    return run


def _range(names: list[str], value: Expression, body: list[Node], otherwise: list[Node]) -> Node:
    def run(scope: Scope) -> Iterator[str]:
        pairs = list(_pairs(value(scope)))
        if not pairs:
            yield from _run(otherwise, scope)
        for key, each in pairs:
            own = dict(zip(names, (key, each) if len(names) > 1 else (each,), strict=False))
            yield from _run(body, Scope(each, scope.variables | own))

    return run


_BLOCKS = {"if": _if, "with": _with, "range": _range}


def _pairs(value: Value) -> Iterator[tuple[Value, Value]]:
    if isinstance(value, Mapping):
        yield from sorted(value.items())
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from ((number, number) for number in range(value))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from enumerate(value)
    elif value is not None and value is not MISSING:
        raise TemplateError(f"range can't iterate over {_go_text(value)}")


def _action(text: str) -> Node:
    names, expression = _declaration(_Tokens(text))

    def run(scope: Scope) -> Iterator[str]:
        value = expression(scope)
        if names:
            scope.variables[names[0]] = value
        else:
            yield _go_text(value)

    return run


# ---- expressions


class _Tokens:
    """The words of one action."""

    def __init__(self, text: str) -> None:
        self._found: list[tuple[str, str, bool]] = []  # kind, text, whether a space stands before it
        place = 0
        text, pattern = text.rstrip(), re.compile(_TOKEN)
        while place < len(text):
            match = pattern.match(text, place)
            if match is None or match.lastgroup is None:
                raise TemplateError(f"unexpected {text[place:].strip()[0]!r} in {{{{{text.strip()}}}}}")
            spaced = match[0][:1].isspace()
            self._found.append((match.lastgroup, match[match.lastgroup], spaced))
            place = match.end()
        self.place = 0

    def peek(self, ahead: int = 0) -> tuple[str, str, bool]:
        """The next token; its kind is "" at the end."""
        index = self.place + ahead
        return self._found[index] if index < len(self._found) else ("", "", False)

    def take(self) -> tuple[str, str, bool]:
        """The next token, and go on."""
        token = self.peek()
        self.place += 1
        return token


def _declaration(tokens: _Tokens) -> tuple[list[str], Expression]:
    """`$k, $v := PIPELINE`, `$v := PIPELINE`, `$v = PIPELINE` or `PIPELINE`."""
    names: list[str] = []
    start = tokens.place
    while tokens.peek()[0] == "variable":
        names.append(tokens.take()[1])
        kind, text, _ = tokens.peek()
        if text == ",":
            tokens.take()
        elif kind in ("declare", "assign"):
            tokens.take()
            return names, _whole(tokens)
        else:
            break
    tokens.place = start
    return [], _whole(tokens)


def _whole(tokens: _Tokens) -> Expression:
    expression = _pipeline(tokens)
    kind, text, _ = tokens.peek()
    if kind:
        raise TemplateError(f"unexpected {text!r} in an action")
    return expression


def _pipeline(tokens: _Tokens) -> Expression:
    expression = _command(tokens, None)
    while tokens.peek()[1] == "|":
        tokens.take()
        expression = _command(tokens, expression)
    return expression


def _command(tokens: _Tokens, piped: Expression | None) -> Expression:
    """A value, or a function with its arguments; what is piped into it comes last."""
    kind, text, _ = tokens.peek()
    if kind == "word" and text not in ("true", "false", "nil"):
        tokens.take()
        function = FUNCTIONS.get(text)
        if function is None:
            raise TemplateError(f'function "{text}" not defined')
        arguments = _arguments(tokens, piped)
        return lambda scope: _call(text, function, [argument(scope) for argument in arguments])
    target = _operand(tokens)
    arguments = _arguments(tokens, piped)
    if not arguments:
        return target
    return lambda scope: _call(text, target(scope), [argument(scope) for argument in arguments])


def _arguments(tokens: _Tokens, piped: Expression | None) -> list[Expression]:
    arguments: list[Expression] = []
    while tokens.peek()[0] and tokens.peek()[1] not in ("|", ")"):
        arguments.append(_operand(tokens))
    return [*arguments, piped] if piped is not None else arguments


def _call(name: str, function: Value, arguments: list[Value]) -> Value:
    if not callable(function):
        raise TemplateError(f"can't give arguments to {name}: it is not a function")
    try:
        return function(*arguments)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise TemplateError(f"error calling {name}: {error}") from error


def _operand(tokens: _Tokens) -> Expression:
    kind, text, _ = tokens.take()
    match kind:
        case "string":
            base: Expression = _constant(_string(text))
        case "number":
            base = _constant(float(text) if "." in text else int(text))
        case "word" if text in ("true", "false", "nil"):
            base = _constant({"true": True, "false": False, "nil": None}[text])
        case "word" if text in FUNCTIONS:
            function = FUNCTIONS[text]
            base = lambda _: _call(text, function, [])  # noqa: E731 - one of many bases
        case "variable":
            base = _variable(text)
        case "field":
            base = _field(lambda scope: scope.dot, text[1:])
        case "dot":
            return lambda scope: scope.dot
        case "sign" if text == "(":
            base = _pipeline(tokens)
            if tokens.take()[1] != ")":
                raise TemplateError("unclosed left parenthesis")
        case _:
            raise TemplateError(f"unexpected {text!r}" if text else "missing value for command")
    while tokens.peek()[0] == "field" and not tokens.peek()[2]:
        base = _field(base, tokens.take()[1][1:])
    return base


def _constant(value: Value) -> Expression:
    return lambda _: value


def _variable(name: str) -> Expression:
    def look_up(scope: Scope) -> Value:
        if name not in scope.variables:
            raise TemplateError(f'undefined variable "{name}"')
        return scope.variables[name]

    return look_up


def _field(base: Expression, name: str) -> Expression:
    def look_up(scope: Scope) -> Value:
        value = base(scope)
        if isinstance(value, Mapping):
            return value[name] if name in value else _by_go_name(value, name)
        if value is None or value is MISSING:
            return MISSING
        raise TemplateError(f"can't evaluate field {name} in {_go_text(value)}")

    return look_up


def _by_go_name(value: Mapping[str, Value], name: str) -> Value:
    """Templates for docker name the fields of Go (`APIVersion`, `ID`), JSON has them in another case."""
    return next((found for key, found in value.items() if key.lower() == name.lower()), MISSING)


def _string(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    return re.sub(r"\\.", lambda match: _ESCAPES.get(match[0], match[0]), text[1:-1])


# ---- values


def _truth(value: Value) -> bool:
    return bool(value)


def _go_text(value: Value) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{_go_text(each)}' for key, each in sorted(value.items()))}]"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(map(_go_text, value))}]"
    return str(value)


def _json(value: Value) -> str:
    if isinstance(value, Mapping):
        value = {key: each for key, each in value.items() if not callable(each)}
    return json.dumps(None if value is MISSING else value, ensure_ascii=False, separators=(",", ":"))


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(key, "")
        elif isinstance(value, Sequence) and isinstance(key, int):
            value = value[key]
        else:
            raise TypeError(f"can't index {_go_text(value)} with {_go_text(key)}")
    return value


def _printf(template: str, *values: Value) -> str:
    """Go's verbs, of which Python lacks v, q and t."""
    texts = iter(values)

    def fill(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        value, verb = next(texts, MISSING), match[2]
        if verb == "q":
            return json.dumps(_go_text(value))
        if verb in "vts":
            return f"%{match[1]}s" % _go_text(value)
        return f"%{match[1]}{verb}" % value

    return re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)([vtsqdxXofgec%])", fill, template)


def _compare(value: Value, *others: Value) -> bool:
    return any(value == other for other in others)


def _and(*values: Value) -> Value:
    return next((value for value in values if not _truth(value)), values[-1])


def _or(*values: Value) -> Value:
    return next((value for value in values if _truth(value)), values[-1])


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after


def _slice(value: Value, start: int = 0, end: int | None = None) -> Value:
    return value[start:end]


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "and": _and,
    "eq": _compare,
    "ge": lambda one, other: one >= other,
    "gt": lambda one, other: one > other,
    "index": _index,
    "join": lambda values, between: between.join(map(_go_text, values or ())),
    "json": _json,
    "le": lambda one, other: one <= other,
    "len": len,
    "lower": lambda text: text.lower(),
    "lt": lambda one, other: one < other,
    "ne": lambda one, other: one != other,
    "not": lambda value: not _truth(value),
    "or": _or,
    "pad": _pad,
    "print": lambda *values: "".join(map(_go_text, values)),
    "printf": _printf,
    "println": lambda *values: " ".join(map(_go_text, values)) + "\n",
    "slice": _slice,
    "split": lambda text, between: text.split(between),
    "title": lambda text: text.title(),
    "truncate": lambda text, length: text[:length],
    "upper": lambda text: text.upper(),
}
