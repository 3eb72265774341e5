"""Reading small XML files that anyone may have written: no document types, no entities, bounded size and depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from perimetry.errors import FileError

LARGEST = 16 << 20  # bytes; an annotation of a thousand objects takes half of one million
DEEPEST = 32


@dataclass(slots=True)
class Node:
    """An element: its name, its own text, and what is in it. Filled while the file is read, and only read later."""

    tag: str
    content: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Node]:
        """The elements of that name directly inside."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Node | None:
        """The first of them, None where there is none."""
        return next(self.all(tag), None)

    def text(self, tag: str) -> str:
        """The text of the first of them, without spaces around; empty where there is none."""
        found = self.first(tag)
        return "" if found is None else found.content.strip()


def read_xml(file: Path) -> Node:
    """The root element of a file; raises `FileError` for what is no XML, too large, too deep, or declares a type."""
    try:
        if file.stat().st_size > LARGEST:
            raise FileError(f"{file} is larger than {LARGEST >> 20} MiB; an annotation is smaller")
        content = file.read_bytes()
    except OSError as error:
        raise FileError(f"{file} cannot be read: {error.strerror}") from error
    top = Node("")
    path = [top]
    parser = expat.ParserCreate()

    def start(tag: str, _attributes: object) -> None:
        if len(path) > DEEPEST:
            raise FileError(f"{file} nests elements more than {DEEPEST} deep; expected a VOC annotation")
        path[-1].children.append(Node(tag))
        path.append(path[-1].children[-1])

    def end(_tag: str) -> None:
        path.pop()

    def characters(text: str) -> None:
        path[-1].content += text

    def refuse(*_: object) -> None:
        # Entities can grow a small file to gigabytes, or fetch other files; annotations need none.
        raise FileError(f"{file} declares a document type, which can hold entities; take the declaration out")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, refuse
    parser.buffer_text = True
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise FileError(f"{file} is not XML that can be read: {error}") from error
    except (LookupError, ValueError) as error:  # of the encoding that it declares: gbk and others of several bytes
        raise FileError(f"{file} is XML in an encoding that is not read ({error}); save it as UTF-8") from error
    return top.children[0]
