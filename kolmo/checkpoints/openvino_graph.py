"""Graphs of OpenVINO's IR: layers and edges of the ``.xml`` file, read piece by piece.

No document type and no entity is accepted, so that nothing expands
(https://docs.openvino.ai/2025/documentation/openvino-ir-format.html).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from xml.parsers import expat

from kolmo.checkpoints.allowance import allowance_for
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

LIMIT = 1 << 28
"""Bytes of the file at most: the graphs of large models take some megabytes."""

_DEPTH = 256
_ELEMENT = 3  # items that an element counts for
_CHUNK = 1 << 18


@dataclasses.dataclass(slots=True)
class IrLayer:
    """A layer: its name and type, the settings of its ``data``, and its graphs within."""

    name: str
    type: str
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    bodies: list[IrGraph] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class IrGraph:
    """Layers by their ids, and the edges between them.

    Attributes
    ----------
    sources : dict
        For each layer, the layers that its inputs come from, by the number of the input.
    takers : dict
        For each layer, the layers that take its outputs, and as which input.
    """

    layers: dict[str, IrLayer] = dataclasses.field(default_factory=dict)
    sources: dict[str, dict[int, str]] = dataclasses.field(default_factory=dict)
    takers: dict[str, list[tuple[str, int]]] = dataclasses.field(default_factory=dict)


def read_graph(stored: Stored) -> IrGraph:
    """The graph of a file.

    Raises
    ------
    InputError
        If it is no XML, has a document type, or is too large or too deep.
    """
    if stored.size > LIMIT:
        raise InputError(f"{stored.where}: {stored.size:,} bytes of XML are more than a graph has")
    reader = _Reader(stored)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    try:
        for at in range(0, stored.size, _CHUNK):
            parser.Parse(bytes(stored.read(at, min(_CHUNK, stored.size - at))), False)
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{stored.where}: its XML is malformed; the file is damaged") from None
    return reader.graph


class _Reader:
    """Makes graphs of what a parser meets."""

    def __init__(self, stored: Stored) -> None:
        self.graph = IrGraph()
        self._where, self._depth = stored.where, 0
        self._charge = allowance_for(stored.where, stored.size).charge
        self._graphs, self._layers = [self.graph], list[IrLayer]()

    def doctype(self, *_: object) -> None:
        raise InputError(f"{self._where}: XML with a document type, which OpenVINO never writes")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._charge(_ELEMENT + len(attributes))
        self._depth += 1
        if self._depth > _DEPTH:
            raise InputError(f"{self._where}: XML of more than {_DEPTH} levels")
        if tag == "layer":
            self._layer(attributes)
        elif tag == "data" and self._layers:
            self._layers[-1].data = attributes
        elif tag in ("body", "then_body", "else_body") and self._layers:
            self._graphs.append(IrGraph())
            self._layers[-1].bodies.append(self._graphs[-1])
        elif tag == "edge":
            self._edge(attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "layer" and self._layers:
            self._layers.pop()
        elif tag in ("body", "then_body", "else_body") and len(self._graphs) > 1:
            self._graphs.pop()

    def _layer(self, attributes: dict[str, str]) -> None:
        layer = IrLayer(attributes.get("name", ""), attributes.get("type", ""))
        layers, key = self._graphs[-1].layers, attributes.get("id", "")
        if key in layers:
            raise InputError(f"{self._where}: two layers of its graph have the id {key[:60]!r}")
        layers[key] = layer
        self._layers.append(layer)

    def _edge(self, attributes: dict[str, str]) -> None:
        begin, end = attributes.get("from-layer", ""), attributes.get("to-layer", "")
        port = attributes.get("to-port", "")
        number = int(port) if port.isascii() and port.isdigit() and len(port) < 9 else 0
        graph = self._graphs[-1]
        graph.sources.setdefault(end, {})[number] = begin
        graph.takers.setdefault(begin, []).append((end, number))
