"""The specification and the code say the same: error codes, verification steps, fields, and the example."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator

import jsonschema
import msgspec
import pytest

from alphaseal import errors
from alphaseal.format import factors
from alphaseal.format import manifest as m
from alphaseal.format.notations import INSTRUMENT_PATTERNS
from alphaseal.format.parts import Part
from alphaseal.gate.onnx.operators import every_operator
from locations import REPOSITORY

SPECIFICATION = (REPOSITORY / "spec/bundle-v1.md").read_text(encoding="utf-8")
RUNTIME = REPOSITORY / "runtime/src/alphaseal"
# Not raised but printed by the commands' outermost frame.
CONSOLE_CODES = {"internal": 1, "interrupted": 130}
# A union of the kinds of stage, explained above their own tables.
WITHOUT_FIELDS = {"Stage"}


def _between(name: str) -> str:
    found = re.search(rf"<!-- {name}: begin -->\n(.*?)<!-- {name}: end -->", SPECIFICATION, re.DOTALL)
    assert found is not None, name
    return found[1]


def test_table_of_operators_is_that_of_the_gate() -> None:
    """The operators that a graph may have are those that the specification lists."""
    listed = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", _between("operators"))))) - {"ai", "onnx", "ml"}
    assert listed == {name for _, name in every_operator()}
    (of_alphas,) = re.findall(r"^\| alpha features, these only \| `([^`]+)` \|$", _between("operators"), re.MULTILINE)
    assert of_alphas.split() == sorted(name for (_, name), row in every_operator().items() if row.alphas)


def _error_classes() -> list[type[errors.AlphasealError]]:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    return [kind for kind in kinds if issubclass(kind, errors.AlphasealError)]


def _raised() -> Iterator[tuple[str, int]]:
    """(code, exit status) of every error that the runtime's sources make."""
    exits = {kind.__name__: kind.exit for kind in _error_classes()}
    # Adapters speak of what other systems say; their codes are not those of a bundle.
    for path in sorted(set(RUNTIME.rglob("*.py")) - set((RUNTIME / "adapters").rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            if name in exits and isinstance(first, ast.Constant):
                yield str(first.value), exits[name]
            elif name in ("Kind", "Rule") and isinstance(first, ast.Constant):
                yield str(first.value), errors.MalformedError.exit
            elif name in exits and path.name != "documents.py":
                # documents.py has its codes from `Kind` and `Rule`; manifest.py puts the area before its helper's codes.
                assert (path.name, ast.unparse(first)) == ("manifest.py", "f'manifest.{code}'")
            elif name == "refuse" and path.name == "manifest.py" and isinstance(first, ast.Constant):
                yield f"manifest.{first.value!s}", errors.MalformedError.exit


def test_table_of_error_codes_is_that_of_the_sources() -> None:
    """Every code that the runtime raises is in the table with its exit status, and no other."""
    listed = {
        code: int(exit_)
        for code, exit_ in re.findall(r"^\| `([a-z_.0-9]+)` \| (\d+) \|", _between("error codes"), re.MULTILINE)
    }
    assert listed == dict(_raised()) | CONSOLE_CODES


def test_every_code_has_one_exit_status() -> None:
    """A code means one thing: it never occurs with two exit statuses."""
    pairs = set(_raised())
    assert len(pairs) == len({code for code, _ in pairs})


def test_table_of_exit_statuses_is_that_of_the_errors() -> None:
    """The exit table holds every status of the error classes."""
    section = SPECIFICATION.split("## 13 Exit statuses")[1].split("## 14")[0]
    listed = {int(status) for status in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    classes = {kind.exit for kind in _error_classes()}
    assert listed == classes | {0, 20, 130}


def test_verification_steps_are_the_same_in_text_and_code() -> None:
    """V1 to V9 occur in the specification's table and in the runtime's bundle.py, and no other id in either."""
    in_table = re.findall(r"^\| (V\d+) \|", SPECIFICATION, re.MULTILINE)
    in_text = set(re.findall(r"\bV\d+\b", SPECIFICATION))
    texts = [(RUNTIME / name).read_text(encoding="utf-8") for name in ("sealed.py", "bundle.py")]
    in_code = set(re.findall(r"\bV\d+\b", "".join(texts)))
    assert in_table == [f"V{number}" for number in range(1, 10)]
    assert in_text == in_code == set(in_table)


def _parts() -> list[type[msgspec.Struct]]:
    kinds = {**vars(factors), **vars(m)}.values()
    return [kind for kind in kinds if inspect.isclass(kind) and issubclass(kind, Part) and kind is not Part]


@pytest.mark.parametrize("kind", _parts(), ids=lambda kind: kind.__name__)
def test_every_field_is_explained(kind: type[msgspec.Struct]) -> None:
    """Each object of the manifest has a table of exactly its fields, in the order of the typed form."""
    section = re.search(rf"^#### {kind.__name__}\n(.*?)(?=^#)", SPECIFICATION, re.DOTALL | re.MULTILINE)
    assert section is not None
    listed = re.findall(
        r"^\| `([a-z_0-9]+)` \| [^|]+ \| [^|]+ \| [^|]*\|$", section[1].split("| code |")[0], re.MULTILINE
    )
    configuration = kind.__struct_config__
    tag = [configuration.tag_field] if configuration.tag_field else []
    assert listed == [*tag, *kind.__struct_fields__]


def test_no_object_is_explained_that_does_not_exist() -> None:
    """The headings of section 8.1 are the typed form's own names."""
    section = SPECIFICATION.split("### 8.1 Objects")[1].split("### 8.2")[0]
    assert set(re.findall(r"^#### (\w+)$", section, re.MULTILINE)) - WITHOUT_FIELDS == {
        kind.__name__ for kind in _parts()
    }


def test_example_is_a_manifest() -> None:
    """The example is valid by the published schema and by the reader, in its one byte form."""
    data = _between("example manifest").removeprefix("```json\n").removesuffix("```\n").encode()
    schema = json.loads((REPOSITORY / "schemas/manifest.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(json.loads(data))
    assert m.encode(m.parse(data)) == data


def test_limits_and_patterns_are_the_codes_own() -> None:
    """The numbers that section 5 to 8 state are the constants of the sources."""
    from alphaseal.disk import tree
    from alphaseal.format import names, strict_json

    assert (m.MAXIMUM_BYTES, tree.MAXIMUM_ENVELOPE) == (8 << 20, 12 << 20)
    assert (strict_json.MAXIMUM_DEPTH, strict_json.MAXIMUM_INTEGER, strict_json.MAXIMUM_NUMBER_LENGTH) == (
        32,
        2**53,
        64,
    )
    assert (names.MAXIMUM_SEGMENT, names.MAXIMUM_PATH) == (64, 120)
    assert f"`{names.SEGMENT_PATTERN}`" in SPECIFICATION
    for kind, pattern in INSTRUMENT_PATTERNS.items():
        assert f"`{kind}`: `{pattern}`" in SPECIFICATION


def test_graph_versions_are_the_builders_own() -> None:
    """The ONNX versions that the format pins are those that the builder writes."""
    from alphaseal_converter.nodes.builder import IR_VERSION, OPSETS

    assert (
        f"`ir_version` {IR_VERSION}; opsets `ai.onnx` {OPSETS['']} and `ai.onnx.ml` {OPSETS['ai.onnx.ml']}"
        in SPECIFICATION
    )


def test_reasons_are_the_converters_own() -> None:
    """Every reason for a bundle not to be ready is in the table of reasons, and no other."""
    section = SPECIFICATION.split("#### Reason\n")[1].split("### 8.2")[0].split("| code |")[1]
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))
    converter = REPOSITORY / "converter/src/alphaseal_converter"
    made = set(
        re.findall(r'yield \(?\s*"([a-z_]+)",', (converter / "proof/eligibility.py").read_text(encoding="utf-8"))
    )
    problems = set(
        re.findall(r'Problem\(\s*"([a-z_]+)"', (converter / "locate/weights.py").read_text(encoding="utf-8"))
    )
    # A missing run is told by `run_not_proven`.
    assert listed == made | (problems - {"run_missing"})


def test_printed_characters_are_the_codes_own() -> None:
    """The table of section 12.5 holds exactly the characters that the printer escapes."""
    from alphaseal.plain_text import UNSEEN

    section = SPECIFICATION.split("### 12.5 What is printed")[1].split("\n## ")[0]
    listed = set()
    for cell in re.findall(r"^\| (U\+[^|]*) \|", section, re.MULTILINE):
        for part in cell.removeprefix("U+").split(", "):
            first, _, last = part.removeprefix("U+").partition("\u2013")
            listed |= set(range(int(first, 16), int(last or first, 16) + 1))
    assert listed == {code for code in range(0x110000) if UNSEEN.match(chr(code))}
