"""Read the words of a shell script that starts a training job: variables, arrays, continued lines. Nothing is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from ..errors import InvalidInputError

LONGEST = 1 << 20
"""Characters of a script, and of all that its variables expand to."""
MOST = 100_000
"""Words of a script."""
UNKNOWN = "$"
END = "\n"
"""Stands between the words of two commands."""
ASSIGNED = re.compile(r"(?:export\s+|local\s+|declare\s+(?:-\w+\s+)*|readonly\s+)?([A-Za-z_]\w*)(\+?)=")
VARIABLE = re.compile(
    r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:\[[@*]\])?(?::?([-=+?])([^{}]*))?\}|\(\(([^()]*(?:\([^()]*\)[^()]*)*)\)\))"
)
SBATCH = re.compile(r"^\s*#SBATCH\s+(.*)$", re.MULTILINE)
FLOW = re.compile(r"^\s*(?:if|for|while|case)\b", re.MULTILINE)


class Script:
    """Words of all commands, and what the variables held at the end."""

    def __init__(self, text: str, label: str) -> None:
        if len(text) > LONGEST:
            raise InvalidInputError(f"{label}: expected a script of at most {LONGEST} characters, found {len(text)}")
        self.label = label
        self.variables: dict[str, str] = {}
        self.commands: list[str] = []
        self.remarks: list[str] = []
        self._budget = LONGEST
        if FLOW.search(text):
            self.remarks.append(
                "conditions and loops of the script are not followed: the last value of each flag counts"
            )
        self.batch = [word for line in SBATCH.findall(text) for word in line.split()]
        self._run(_uncommented(text.replace("\r\n", "\n")).replace("\\\n", " "))

    def words(self) -> list[str]:
        """Words of the commands; of the variables where no command has a flag."""
        if any(word.startswith("--") for word in self.commands):
            return self.commands
        return [word for value in self.variables.values() for word in value.split()]

    def _run(self, text: str) -> None:
        place, start = 0, True  # whether a command may start here, so that NAME= is an assignment
        while place < len(text):
            letter = text[place]
            if letter in " \t":
                place += 1
                continue
            if letter in "\n;&|(){}<>":
                start = start or letter not in "<>"
                self.commands.append(END)
                place += 1
                continue
            found = ASSIGNED.match(text, place) if start else None
            if found is not None:
                place = self._assign(text, found)
                continue
            raw, place = _word(text, place)
            if raw.isdigit() and text[place : place + 1] in ("<", ">"):
                continue  # the number of a stream
            start = raw in ("if", "then", "else", "do", "time", "exec", "env")
            self.commands += self._expanded(raw)
            if len(self.commands) > MOST:
                raise InvalidInputError(f"{self.label}: expected at most {MOST} words, found more")

    def _assign(self, text: str, found: re.Match[str]) -> int:
        name, more = found.group(1), found.group(2)
        place = found.end()
        if text[place : place + 1] == "(":
            end, words = place + 1, []
            while end < len(text) and text[end] != ")":
                if text[end].isspace() or text[end] in ";&|<>(":
                    end += 1
                    continue
                raw, end = _word(text, end)
                words += self._expanded(raw)
            value = " ".join(words)
            place = end + 1
        elif place < len(text) and not text[place].isspace() and text[place] not in ";&|)":
            raw, place = _word(text, place)
            value = " ".join(self._expanded(raw))
        else:
            value = ""
        self.variables[name] = f"{self.variables.get(name, '')} {value}".strip() if more else value
        return place

    def _expanded(self, raw: str) -> list[str]:
        if raw[:1] == "'":
            text = raw.replace("'", "")
        else:
            text = self._substituted(re.sub(r"\\(.)", r"\1", raw.replace('"', "").replace("'", "")))
        self._budget -= len(text)
        if self._budget < 0:
            raise InvalidInputError(f"{self.label}: its variables expand to more than {LONGEST} characters")
        return text.split()

    def _substituted(self, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = found.group(1) or found.group(2)
            if name is None:
                return self._sum(found.group(5))
            known = self.variables.get(name)
            if known:
                return known
            if found.group(3) in ("-", "="):
                return self._substituted_once(found.group(4))
            return known if known is not None else f"{UNKNOWN}{name}"

        return VARIABLE.sub(value, text)

    def _substituted_once(self, text: str) -> str:
        return VARIABLE.sub(lambda found: self.variables.get(found.group(1) or found.group(2) or "", ""), text)

    def _sum(self, text: str) -> str:
        plain = re.sub(r"\$?\{?\b([A-Za-z_]\w*)\}?", lambda found: self.variables.get(found.group(1), "?"), text)
        return arithmetic(plain, f"{UNKNOWN}(({' '.join(text.split())[:40]}))")


def arithmetic(text: str, otherwise: str) -> str:
    """The whole number that a sum of a shell comes to, or something else where it is none.

    Examples:
        >>> arithmetic("8*(4+2)", "?"), arithmetic("7/2", "?"), arithmetic("2**9", "?")
        ('48', '3', '?')
    """
    if len(text) > 200 or re.search(r"[^0-9+\-*/%() ]|\*\*|//", text):
        return otherwise
    try:
        return str(_worth(ast.parse(text.strip(), mode="eval").body))
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return otherwise


def _worth(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.UnaryOp):
        value = _worth(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _worth(node.left), _worth(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        return left // right if isinstance(node.op, ast.Div) else left % right
    raise ValueError


def _uncommented(text: str) -> str:
    """A script without comments; a # inside quotes or a word is none."""
    kept, quote, before = [], "", "\n"
    place = 0
    while place < len(text):
        letter = text[place]
        if letter == "\\" and quote != "'":
            kept.append(text[place : place + 2])
            before = text[place + 1 : place + 2] or "\n"
            place += 2
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "#" and (before.isspace() or before in ";("):
            end = text.find("\n", place)
            place = end if end >= 0 else len(text)
            continue
        kept.append(letter)
        before = letter
        place += 1
    return "".join(kept)


def _word(text: str, place: int) -> tuple[str, int]:
    """A word with its quotes, and where it ends."""
    start, quote, deep = place, "", 0
    while place < len(text):
        letter = text[place]
        if letter == "\\" and quote != "'":
            place += 2
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "$" and text[place + 1 : place + 2] in ("(", "{"):
            deep += 1
            place += 1
        elif deep and letter in "({":
            deep += 1
        elif deep and letter in ")}":
            deep -= 1
        elif not deep and (letter.isspace() or letter in ";&|()<>"):
            break
        place += 1
    end = min(max(place, start + 1), len(text))
    return text[start:end], end


def paired(words: Sequence[str]) -> dict[str, object]:
    """Values by flag, without leading dashes and with underscores as hyphens; a flag that comes again replaces the first.

    Examples:
        >>> paired(["torchrun", "--nnodes=4", "train.py", "--bf16", "--rampup-batch-size", "16", "16", "5859375"])
        {'nnodes': '4', 'bf16': True, 'rampup-batch-size': ['16', '16', '5859375']}
    """
    found: dict[str, object] = {}
    name, values = "", list[str]()

    def keep() -> None:
        if name:
            found[name] = True if not values else values[0] if len(values) == 1 else list(values)

    for word in words:
        if word.startswith("--") and len(word) > 2:
            keep()
            head, equal, tail = word[2:].partition("=")
            name, values = head.replace("_", "-"), [tail] if equal else []
            if equal:
                keep()
                name = ""
        elif word == END:
            keep()
            name = ""
        elif name:
            values.append(word)
    keep()
    return found
