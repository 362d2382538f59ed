"""ELAN's .eaf: where its empty annotations stand in the file, and when they are in the recording.

The XML parser gives the place of each tag, so a text is put in and every other byte stays:
comments, the order of attributes, line ends, the encoding.

An annotation has times of its own, or through the annotation it refers to. Time slots without a
value divide what lies between their neighbours evenly, as ELAN shows them. Several annotations that
refer to the same one are an order without times (a symbolic subdivision).
"""

import codecs
from collections import Counter
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from speechx.transcription.annotation.sheet import (
    AnnotationTier,
    EmptySegment,
    MediaLink,
    Sheet,
    Texts,
)
from speechx.transcription.formats.eaf import NOT_XML

VALUE = "ANNOTATION_VALUE"


@dataclass(slots=True)
class _Annotation:
    tier: str
    slots: tuple[str, str] | None
    refers_to: str | None
    text: str = ""
    at: int = 0
    """The first byte of the element with its text."""
    until: int = 0


@dataclass(slots=True)
class _Content:
    """What the parser meets."""

    encoding: str = "utf-8"
    root: str = ""
    tiers: list[str] = field(default_factory=list)
    slots: dict[str, float | None] = field(default_factory=dict)
    annotations: list[_Annotation] = field(default_factory=list)
    by_id: dict[str, _Annotation] = field(default_factory=dict)
    links: list[MediaLink] = field(default_factory=list)


def read(data: bytes) -> Sheet:
    """A ValueError names what is wrong with the file."""
    try:
        content = _parsed(data)
    except expat.ExpatError as error:
        why = expat.errors.messages[error.code]
        raise ValueError(
            f"it is not the XML of ELAN: line {error.lineno}: {why}; copy it again, or take its "
            "backup"
        ) from None
    if content.root != "ANNOTATION_DOCUMENT":
        raise ValueError(f"it is XML, but {content.root} and not an ANNOTATION_DOCUMENT of ELAN")
    times = _Times(content)
    tiers = []
    for name in content.tiers:
        in_tier = (a for a in content.annotations if a.tier == name and a.until)
        found = [a for a in in_tier if not a.text.strip()]
        spans = [(a, times.of(a)) for a in found]
        empty = tuple(EmptySegment(*span, a.at, a.until) for a, span in spans if span)
        tiers.append(AnnotationTier(name, empty, sum(span is None for _, span in spans)))

    def with_texts(texts: Texts) -> bytes:
        parts, at = [], 0
        for place in sorted(texts, key=lambda place: place.at):
            element = data[place.at : place.until]
            parts += [data[at : place.at], _with_text(element, texts[place], content.encoding)]
            at = place.until
        return b"".join([*parts, data[at:]])

    return Sheet(tuple(tiers), tuple(content.links), with_texts)


def _parsed(data: bytes) -> _Content:
    content = _Content()
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            content.encoding = name
    parser = expat.ParserCreate()
    inside = False

    def declared(version: str, encoding: str | None, standalone: int) -> None:
        if encoding and not content.encoding.startswith("utf-16"):
            content.encoding = encoding

    def start(name: str, values: dict[str, str]) -> None:
        nonlocal inside
        content.root = content.root or name
        if name == "MEDIA_DESCRIPTOR":
            urls = (values.get("RELATIVE_MEDIA_URL", ""), values.get("MEDIA_URL", ""))
            origin = int(values.get("TIME_ORIGIN") or 0) / 1000
            content.links.append(MediaLink(tuple(filter(None, urls)), origin))
        elif name == "TIME_SLOT":
            time = values.get("TIME_VALUE")
            content.slots[values["TIME_SLOT_ID"]] = int(time) / 1000 if time else None
        elif name == "TIER":
            content.tiers.append(values["TIER_ID"])
        elif name == "ALIGNABLE_ANNOTATION":
            slots = values["TIME_SLOT_REF1"], values["TIME_SLOT_REF2"]
            begin(values["ANNOTATION_ID"], _Annotation(content.tiers[-1], slots, None))
        elif name == "REF_ANNOTATION":
            parent = values["ANNOTATION_REF"]
            begin(values["ANNOTATION_ID"], _Annotation(content.tiers[-1], None, parent))
        elif name == VALUE and content.annotations:
            inside, content.annotations[-1].at = True, parser.CurrentByteIndex

    def begin(name: str, annotation: _Annotation) -> None:
        content.annotations.append(annotation)
        content.by_id[name] = annotation

    def text(characters: str) -> None:
        if inside:
            content.annotations[-1].text += characters

    def end(name: str) -> None:
        nonlocal inside
        if name == VALUE and inside:
            inside, at = False, parser.CurrentByteIndex
            closing = f"</{VALUE}".encode(content.encoding)
            if data.startswith(closing, at):  # otherwise <ANNOTATION_VALUE/>, which ends here
                bracket = ">".encode(content.encoding)
                at = data.index(bracket, at) + len(bracket)
            content.annotations[-1].until = at

    parser.XmlDeclHandler = declared
    parser.StartElementHandler = start
    parser.CharacterDataHandler = text
    parser.EndElementHandler = end
    try:
        parser.Parse(data, True)
    except KeyError as error:
        raise ValueError(f"an element near line {parser.CurrentLineNumber} lacks {error}") from None
    return content


def _with_text(element: bytes, text: str, encoding: str) -> bytes:
    """The element, whose text is white space, with another text; comments in it stay."""
    whole = element.decode(encoding)
    new = escape(NOT_XML.sub("", text))
    head, bracket, rest = whole.partition(">")
    inner, opening, tail = rest.rpartition(f"</{VALUE}")
    if not opening:  # <ANNOTATION_VALUE/>
        head, opening, tail = head.rstrip("/ \t\r\n"), f"</{VALUE}", ">"
    comments = inner if "<" in inner else ""
    changed = head + bracket + new + comments + opening + tail
    return changed.encode(encoding, errors="xmlcharrefreplace")


class _Times:
    def __init__(self, content: _Content) -> None:
        self.content = content
        self.children = Counter((a.tier, a.refers_to) for a in content.annotations if a.refers_to)
        slots = [(a.tier, a.slots) for a in content.annotations if a.slots]
        self.next = {(tier, begin): end for tier, (begin, end) in slots}
        self.before = {(tier, end): begin for tier, (begin, end) in slots}

    def of(self, annotation: _Annotation) -> tuple[float, float] | None:
        """Start and end, or None if it has no times of its own."""
        for _ in range(len(self.content.tiers) + 1):
            if annotation.slots is not None:
                start, end = (self._time(annotation.tier, slot) for slot in annotation.slots)
                return None if start is None or end is None else (start, end)
            name = annotation.refers_to or ""
            parent = self.content.by_id.get(name)
            if parent is None or self.children[annotation.tier, name] > 1:
                return None
            annotation = parent
        return None  # annotations that refer to each other in a circle

    def _time(self, tier: str, slot: str) -> float | None:
        known = self.content.slots.get(slot)
        if known is not None:
            return known
        earlier, steps_back = self._known(slot, tier, self.before)
        later, steps_on = self._known(slot, tier, self.next)
        if earlier is None or later is None:
            return None
        return earlier + (later - earlier) * steps_back / (steps_back + steps_on)

    def _known(
        self, slot: str, tier: str, way: dict[tuple[str, str], str]
    ) -> tuple[float | None, int]:
        """The time of the nearest slot on the way that has one, and the number of steps to it."""
        for steps in range(1, len(self.content.slots) + 1):
            if (tier, slot) not in way:
                break
            slot = way[tier, slot]
            if (time := self.content.slots.get(slot)) is not None:
                return time, steps
        return None, 0
