"""What the translator needs to know of Metal's syntax: tokens, attributes, kernels, instantiations, threadgroup tiles.

This is no compiler: types, expressions and templates are left to g++ or nvcc. It finds the few constructs that no C++
compiler reads, and refuses, with file and line, every use of them that it does not understand.
"""

from __future__ import annotations

import dataclasses
import re

from metal_source import MetalSource, SourceError

POSITION_ATTRIBUTES = frozenset(
    [
        "thread_position_in_grid",
        "thread_position_in_threadgroup",
        "threadgroup_position_in_grid",
        "threads_per_threadgroup",
        "threadgroups_per_grid",
        "threads_per_grid",
        "thread_index_in_threadgroup",
        "thread_index_in_simdgroup",
        "simdgroup_index_in_threadgroup",
        "simdgroups_per_threadgroup",
        "threads_per_simdgroup",
    ]
)
_ATTRIBUTES = POSITION_ATTRIBUTES | {
    "kernel",
    "host_name",
    "max_total_threads_per_threadgroup",
    "buffer",
    "maybe_unused",
}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<directive>(?<![^\n])[ \t]*\#(?:\\\n|[^\n])*)
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<character>'(?:\\.|[^'\\\n])*')
      | (?P<word>[A-Za-z_]\w*)
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.'])*)
      | (?P<punctuation>::|.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSER = {"(": ")", "[": "]", "{": "}", "<": ">"}


@dataclasses.dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int
    attributes: tuple[tuple[str, str], ...] = ()  # of kind "attribute": (name, what stands in its parentheses)


@dataclasses.dataclass(frozen=True)
class Parameter:
    name: str
    attribute: str  # "buffer" or one of POSITION_ATTRIBUTES
    index: int | None  # of a buffer


@dataclasses.dataclass(frozen=True)
class Kernel:
    name: str
    namespace: tuple[str, ...]
    is_template: bool
    parameters: tuple[Parameter, ...]
    max_threads: str | None  # the expression in max_total_threads_per_threadgroup
    offset: int


@dataclasses.dataclass(frozen=True)
class Instantiation:
    host_name: str
    expression: str  # "svd_threadgroup<float, 8128>"
    kernel: str  # "svd_threadgroup"
    namespace: tuple[str, ...]
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Tile:
    element: str
    name: str
    dimensions: str  # "[32][33]", or empty
    function: str
    start: int
    end: int

    @property
    def array(self) -> str:
        return self.element + self.dimensions

    @property
    def reference(self) -> str:
        """The declaration of a reference to such an array, of the tile's name."""
        name = f"(&{self.name}){self.dimensions}" if self.dimensions else f"&{self.name}"
        return f"{self.element} {name}"


class Syntax:
    """The constructs found in one library."""

    def __init__(self, source: MetalSource):
        self.source = source
        self.text = source.text
        self.kernels: list[Kernel] = []
        self.instantiations: list[Instantiation] = []
        self.tiles: list[Tile] = []
        self.directives: list[Token] = []
        self.blanks: list[Token] = []  # attributes and the word "kernel": nothing to a C++ compiler
        self.tokens = self._fold_attributes(self._tokenize())
        self._scan_namespace(0, ())
        self._check_uses_of_threadgroup()
        self._check_tiles_are_in_kernels()

    # Tokens

    def error(self, offset: int, message: str) -> SourceError:
        return SourceError(self.source.origin_of_offset(offset), message)

    def _tokenize(self) -> list[Token]:
        tokens = []
        for match in _TOKEN.finditer(self.text):
            token = Token(match.lastgroup, match.group(), match.start(), match.end())
            if token.kind == "directive":
                self._check_directive(token)
                self.directives.append(token)
            elif token.kind not in ("space", "comment"):
                tokens.append(token)
        return tokens

    def _check_directive(self, token: Token) -> None:
        if re.match(r"\s*#\s*define\b", token.text) and re.search(r"\[\[|\bthreadgroup\b|\bkernel\b", token.text):
            raise self.error(token.start, "kernels, attributes and threadgroup declarations cannot come from a macro")

    def _fold_attributes(self, tokens: list[Token]) -> list[Token]:
        """Replace each [[...]] by one token."""
        folded, i = [], 0
        while i < len(tokens):
            opens = tokens[i].text == "[" and i + 1 < len(tokens) and tokens[i + 1].text == "["
            if opens and tokens[i].end == tokens[i + 1].start:
                close = self._matching(tokens, i)
                attributes = self._parse_attributes(tokens[i + 2 : close - 1], tokens[i].start)
                folded.append(Token("attribute", "", tokens[i].start, tokens[close].end, attributes))
                self.blanks.append(folded[-1])
                i = close + 1
            else:
                folded.append(tokens[i])
                i += 1
        return folded

    def _parse_attributes(self, tokens: list[Token], offset: int) -> tuple[tuple[str, str], ...]:
        attributes = []
        for part in self._split(tokens):
            name, inside = part[0].text, part[2:-1]
            if name not in _ATTRIBUTES or (len(part) > 1 and (part[1].text, part[-1].text) != ("(", ")")):
                raise self.error(offset, f"unknown attribute [[{self._join(part)}]]")
            attributes.append((name, self._join(inside)))
        return tuple(attributes)

    def _matching(self, tokens: list[Token], opening: int) -> int:
        """The index of the bracket that closes the one at opening."""
        opener, closer, depth = tokens[opening].text, _CLOSER[tokens[opening].text], 0
        for i in range(opening, len(tokens)):
            if tokens[i].text == opener:
                depth += 1
            elif tokens[i].text == closer:
                depth -= 1
                if depth == 0:
                    return i
            elif opener == "<" and tokens[i].text in "([{":
                i = self._matching(tokens, i)
        raise self.error(tokens[opening].start, f"no '{closer}' closes this '{opener}'")

    def _split(self, tokens: list[Token]) -> list[list[Token]]:
        """Split at the commas that no bracket encloses."""
        parts, depth = [[]], 0
        for token in tokens:
            depth += (token.text in ("(", "[", "{", "<")) - (token.text in (")", "]", "}", ">"))
            if token.text == "," and depth == 0:
                parts.append([])
            else:
                parts[-1].append(token)
        return [part for part in parts if part]

    def _join(self, tokens: list[Token]) -> str:
        return self.text[tokens[0].start : tokens[-1].end] if tokens else ""

    # Declarations

    def _scan_namespace(self, i: int, namespace: tuple[str, ...]) -> int:
        """Read declarations up to the brace that closes the namespace; the index behind it."""
        head: list[Token] = []
        while i < len(self.tokens):
            token = self.tokens[i]
            if token.text == "}" and token.kind == "punctuation":
                return i + 1
            if token.text == ";":
                self._statement(head, token, namespace)
                head, i = [], i + 1
            elif token.text == "{":
                i, ended = self._braces(head, i, namespace)
                head = [] if ended else [*head, token]
            else:
                head.append(token)
                i += 1
        if head:
            raise self.error(head[0].start, "this declaration does not end")
        return i

    def _braces(self, head: list[Token], i: int, namespace: tuple[str, ...]) -> tuple[int, bool]:
        """Pass over {...} after the tokens of head: the index behind it, and whether the declaration ended there."""
        words = [token.text for token in head if token.kind == "word"]
        if "namespace" in words[:2]:
            return self._scan_namespace(
                i + 1, namespace + tuple(w for w in words if w not in ("inline", "namespace"))
            ), True
        close = self._matching(self.tokens, i)
        parameters = self._parameter_list(head)
        if parameters is None:  # a type or an initialiser, which a semicolon ends
            return close + 1, False
        name = head[parameters[0] - 1].text
        if self._is_kernel(head):
            self._kernel(head, parameters, namespace)
        self._function_body(name, i, close)
        return close + 1, True

    def _parameter_list(self, head: list[Token]) -> tuple[int, int] | None:
        """Where '(' and ')' of the function's parameters stand in head, if head declares a function."""
        texts = [token.text for token in head]
        if "(" not in texts or any(
            t in ("=", "struct", "class", "union", "enum") for t in self._without_template_head(texts)
        ):
            return None
        close = len(texts) - 1 - texts[::-1].index(")")
        depth = 0
        for i in range(close, -1, -1):
            depth += (texts[i] == ")") - (texts[i] == "(")
            if depth == 0:
                return i, close
        return None

    def _without_template_head(self, texts: list[str]) -> list[str]:
        if texts[:2] != ["template", "<"]:
            return texts
        depth = 0
        for i, text in enumerate(texts[1:], start=1):
            depth += (text == "<") - (text == ">")
            if depth == 0:
                return texts[i + 1 :]
        return texts

    def _attributes(self, tokens: list[Token]) -> list[tuple[str, str]]:
        return [attribute for token in tokens for attribute in token.attributes]

    def _is_kernel(self, head: list[Token]) -> bool:
        return any(name == "kernel" for name, _ in self._attributes(head)) or any(
            token.text == "kernel" for token in head
        )

    def _kernel(self, head: list[Token], parameters: tuple[int, int], namespace: tuple[str, ...]) -> None:
        opening, closing = parameters
        self.blanks += [token for token in head if token.text == "kernel"]
        limits = [inside for name, inside in self._attributes(head) if name == "max_total_threads_per_threadgroup"]
        name = head[opening - 1]
        if any(kernel.name == name.text for kernel in self.kernels):
            raise self.error(name.start, f"a second kernel '{name.text}' in this library")
        found = tuple(self._parameter(part) for part in self._split(head[opening + 1 : closing]))
        indices = [parameter.index for parameter in found if parameter.index is not None]
        if len(set(indices)) < len(indices):
            raise self.error(name.start, f"kernel '{name.text}' has two parameters of one [[buffer(n)]]")
        is_template = head[0].text == "template"
        self.kernels.append(Kernel(name.text, namespace, is_template, found, limits[0] if limits else None, name.start))

    def _parameter(self, tokens: list[Token]) -> Parameter:
        words = [token.text for token in tokens if token.kind == "word"]
        attributes = [a for a in self._attributes(tokens) if a[0] != "maybe_unused"]
        if len(attributes) != 1 or len(words) < 2:
            raise self.error(
                tokens[0].start, f"parameter '{self._join(tokens)}' needs one attribute, such as [[buffer(0)]]"
            )
        (attribute, inside), name = attributes[0], words[-1]
        if attribute in POSITION_ATTRIBUTES:
            return Parameter(name, attribute, None)
        if attribute != "buffer":
            raise self.error(tokens[0].start, f"[[{attribute}]] does not belong on parameter '{name}'")
        if not inside.isdigit() or int(inside) > 30:
            raise self.error(
                tokens[0].start, f"[[buffer({inside})]] of parameter '{name}': the index is a number from 0 to 30"
            )
        is_indirect = any(token.text in ("*", "&") for token in tokens)
        if not is_indirect or not {"device", "constant"} & set(words):
            raise self.error(tokens[0].start, f"buffer '{name}' must be a device or constant pointer or reference")
        return Parameter(name, attribute, int(inside))

    def _statement(self, head: list[Token], semicolon: Token, namespace: tuple[str, ...]) -> None:
        """A declaration that ends in a semicolon: of interest only if it instantiates a kernel."""
        host_names = [inside for name, inside in self._attributes(head) if name == "host_name"]
        if not host_names:
            if head and self._is_kernel(head):
                raise self.error(head[0].start, "a kernel is defined where it is declared")
            return
        parts = [token for token in head if token.kind != "attribute" and token.text != "kernel"]
        texts = [token.text for token in parts]
        if not self._is_kernel(head) or texts[:3] != ["template", "decltype", "("]:
            form = 'template [[host_name("x_f32")]] [[kernel]] decltype(x<float>) x<float>;'
            raise self.error(head[0].start, f"a kernel is instantiated in the form  {form}")
        close = self._matching(parts, 2)
        if texts[3:close] != texts[close + 1 :] or "<" not in texts[3:close]:
            raise self.error(head[0].start, "the name in decltype(...) and the instantiated name differ")
        expression = self._join(parts[3:close])
        kernel = texts[3 : texts.index("<")][-1]
        if not re.fullmatch(r'"\w+"', host_names[0]):
            raise self.error(head[0].start, f"host_name({host_names[0]}) is not a plain name in quotes")
        self.instantiations.append(
            Instantiation(host_names[0].strip('"'), expression, kernel, namespace, head[0].start, semicolon.end)
        )

    # Threadgroup tiles

    def _function_body(self, function: str, opening: int, closing: int) -> None:
        for i in range(opening + 1, closing):
            starts_statement = self.tokens[i - 1].text in ("{", "}", ";")
            if self.tokens[i].text == "threadgroup" and starts_statement:
                self._tile(function, i)

    def _tile(self, function: str, i: int) -> None:
        """threadgroup T name[..][..];  A pointer or reference into threadgroup memory is no tile."""
        start, end = i, i
        while self.tokens[end].text != ";":
            end += 1
        part = self.tokens[start + 1 : end]
        bracket = next((k for k, token in enumerate(part) if token.text == "["), len(part))
        declared, dimensions = part[:bracket], part[bracket:]
        if any(token.text in ("*", "&") for token in declared):
            return
        tail = declared + dimensions
        plain = len(declared) >= 2 and declared[-1].kind == "word" and (not dimensions or dimensions[-1].text == "]")
        if not plain or len(self._split(tail)) != 1 or any(token.text in ("=", "(", "{") for token in declared):
            raise self.error(
                part[0].start, "one threadgroup declaration a statement, without initialiser: threadgroup T name[..];"
            )
        self.tiles.append(
            Tile(
                " ".join(self._join(declared[:-1]).split()),
                declared[-1].text,
                " ".join(self._join(dimensions).split()),
                function,
                self.tokens[start].start,
                self.tokens[end].end,
            )
        )

    def _check_uses_of_threadgroup(self) -> None:
        """Elsewhere the word must qualify what a pointer or reference points to: g++ would take anything else for a
        variable of the thread."""
        tile_starts = {tile.start for tile in self.tiles}
        for i, token in enumerate(self.tokens):
            if token.text != "threadgroup" or token.start in tile_starts:
                continue
            following = (t.text for t in self.tokens[i + 1 :])
            stop = next((text for text in following if text in ("*", "&", ";", "=", ")", "{", "}", "[")), ";")
            if stop not in ("*", "&"):
                raise self.error(token.start, "this use of 'threadgroup' is neither a tile nor a pointer or reference")

    def _check_tiles_are_in_kernels(self) -> None:
        kernels = {kernel.name for kernel in self.kernels}
        for tile in self.tiles:
            if tile.function not in kernels:
                raise self.error(
                    tile.start, f"tile '{tile.name}' is declared in '{tile.function}', which is not a kernel"
                )
