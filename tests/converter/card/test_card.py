"""The card as text: what stands in it, that nothing in it can run, and that a reader is told what is not known."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from alphaseal.format import manifest as m
from alphaseal.format.factors import NotCompiledFactor
from alphaseal_converter.card import SECTIONS, render_card
from alphaseal_converter.card.markup import CONTENT_SECURITY_POLICY, element, page, visible
from manifests import FACTOR_CODE, compiled_manifest, example_manifest, example_sources
from pictures import example_performance

VOID = {"meta", "br", "img", "hr", "link", "input"}
HOSTILE = "<script>alert(1)</script>\"><img src=x onerror=alert(2)>'</code></pre></details>&amp;\u202eevil\u2066\u2069\x1b[31m http://evil.example"


class Document(HTMLParser):
    """What a browser would see: elements with attributes, texts, and every break of the tree."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"{tag} is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"unexpected </{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.texts.append(data)

    def values(self, name: str) -> list[str | None]:
        return [value for _, attribute, value in self.attributes if attribute == name]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def not_compiled_manifest() -> m.Manifest:
    """The example whose factor was not compiled."""
    example = example_manifest()
    refused = NotCompiledFactor(code="looks_ahead", construct="Series.shift", line=7, why="it uses later rows")
    features = [
        msgspec.structs.replace(feature, compilation=refused) if feature.name == "REV_3D" else feature
        for feature in example.features
    ]
    return msgspec.structs.replace(example, features=features)


MANIFESTS = {"example": example_manifest, "compiled": compiled_manifest, "not compiled": not_compiled_manifest}


def hostile_manifest(innocent: m.Manifest) -> tuple[m.Manifest, int]:
    """A manifest with `HOSTILE` behind every text and every key that the schema leaves free, and how many they are."""
    plain = m.to_plain(innocent)
    poisoned = 0

    def accepted() -> bool:
        try:
            msgspec.convert(plain, m.Manifest)
        except msgspec.ValidationError:
            return False
        return True

    def walk(value: Any) -> None:
        nonlocal poisoned
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            item = value[key]
            if isinstance(item, dict | list):
                walk(item)
            elif isinstance(item, str):
                value[key] = f"{item}{HOSTILE} [{poisoned}]"
                if accepted():
                    poisoned += 1
                else:
                    value[key] = item
            if isinstance(key, str):
                renamed = f"{key}{HOSTILE} [{poisoned}]"
                value[renamed] = value.pop(key)
                if accepted():
                    poisoned += 1
                else:
                    value[key] = value.pop(renamed)

    walk(plain)
    return msgspec.convert(plain, m.Manifest), poisoned


def test_example_is_a_valid_manifest() -> None:
    """The example that other tests build on is accepted by the runtime's strict reader."""
    manifest = example_manifest()
    assert m.parse(m.encode(manifest)) == manifest
    assert {entry.path for entry in manifest.files if entry.role == "source"} == set(example_sources())


def test_card_runs_and_loads_nothing() -> None:
    """The page has a strict policy, no script, no event handler, no link out, and balanced tags."""
    card = render_card(example_manifest(), example_sources(), "the digest is printed by build", example_performance())
    document = Document(card)
    assert document.problems == []
    assert not {
        "script",
        "iframe",
        "object",
        "embed",
        "link",
        "form",
        "base",
        "img",
        "foreignObject",
        "use",
        "image",
    } & set(document.tags)
    assert document.tags.count("meta") == 5
    policies = [
        value for _, name, value in document.attributes if name == "content" and value and "default-src" in value
    ]
    assert policies == [CONTENT_SECURITY_POLICY]
    assert CONTENT_SECURITY_POLICY == (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    assert not [name for _, name, _ in document.attributes if name.startswith("on")]
    assert document.values("src") == []
    anchors = document.values("id")
    assert len(anchors) == len(set(anchors))
    assert document.values("href")
    assert {f"#{anchor}" for anchor in anchors} >= set(document.values("href"))
    style = card[card.index("<style>") : card.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in style


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_free_text_is_only_text(name: str) -> None:
    """Markup in any text or key of manifest and sources comes out as text: the same elements and attributes as without it."""
    manifest, poisoned = hostile_manifest(MANIFESTS[name]())
    assert poisoned > 100
    sources = {path: text + HOSTILE for path, text in example_sources().items()}
    card = render_card(manifest, sources, HOSTILE, example_performance())
    plain = render_card(MANIFESTS[name](), example_sources(), "note", example_performance())
    document, innocent = Document(card), Document(plain)
    assert document.problems == []
    assert set(document.tags) - {"mark"} == set(innocent.tags) - {"mark"}
    assert {(tag, name) for tag, name, _ in document.attributes} - {("mark", "class")} == {
        (tag, name) for tag, name, _ in innocent.attributes
    }
    assert document.values("href") == innocent.values("href")
    assert document.values("id") == innocent.values("id")
    assert set(document.values("class")) - {"unseen"} == set(innocent.values("class"))
    # A feature's texts stand in its factor's article; they are repeated only where they differ, as they do here.
    unshown = [number for number in range(poisoned) if f"http://evil.example [{number}]" not in document.text]
    assert unshown == []
    assert "<script" not in card.lower()
    assert "<img" not in card.lower()


def test_unseen_characters_are_shown() -> None:
    """Direction overrides, controls, zero-width characters and lone surrogates are visible escapes; line feeds and tabs stay."""
    sources = example_sources() | {
        "sources/conf.yaml": "a\r\n\tb \u202edlrow\u2066 \x00\x1b[0m \u200b \ud800 \r \U000e0041 中文"
    }
    card = render_card(example_manifest(), sources)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", card)
    for escape in (r"\u202e", r"\u2066", r"\x00", r"\x1b", r"\u200b", r"\ud800", r"\x0d", r"\U000e0041"):
        assert f'<mark class="unseen">{escape}</mark>' in card
    assert "<code>a\n\tb " in card
    assert "中文" in card
    assert card.encode("utf-8").decode("utf-8") == card
    assert visible("\u202a") == r"\u202a"


def test_same_input_gives_the_same_text() -> None:
    """Rendering twice, from equal manifests with another order of keys, gives identical bytes with LF line ends."""
    reordered = dict(reversed(example_sources().items()))
    manifest = example_manifest()
    turned = msgspec.structs.replace(
        manifest,
        metrics=msgspec.structs.replace(manifest.metrics, values=dict(reversed(manifest.metrics.values.items()))),
        producer=msgspec.structs.replace(
            manifest.producer, packages=dict(reversed(manifest.producer.packages.items()))
        ),
    )
    card = render_card(manifest, example_sources(), None, example_performance())
    assert render_card(turned, reordered, None, example_performance()) == card
    assert "\r" not in card
    assert card.endswith("</html>\n")


def test_card_says_what_a_reviewer_asks() -> None:
    """Verdict, proof, origin, metrics, factors, features, preprocessing, label, data and files are all there in words."""
    manifest = example_manifest()
    text = Document(render_card(manifest, example_sources(), "digest: see the build log")).text
    for expected in (
        "reversal-demo sequence 3",
        "✓ Ready",
        "✓ Bit-identical 24,746 of 24,746 rows bit-identical; largest difference 0 ulp (bound: sums in tree order, in double)",
        "2,369 of 2,369 recorded predictions reproduced in this order",
        "Top 5 same stocks in the same order on 40 of 40 days",
        "qlib.contrib.model.gbdt.LGBModel",
        "Trees 57",
        "newest accepted experiment of the history",
        "not signed: not authenticated",
        manifest.source.weights.sha256,
        "As qlib recorded them, segment 2021-11-01 to 2021-12-24",
        "1day.excess_return_with_cost.annualized_return -0.11547",
        "1day.pos –",
        "open_cost 0.0005",
        "qlib.contrib.strategy.TopkDropoutStrategy",
        "1 of 2 accepted factors in the model",
        "UPLIMIT_TOUCH no column",
        r"\frac{close_{i,t}}{close_{i,t-3}}",
        "1 REV_3D SOTA float64 4 yes 3.12% + 0.04% infinite sources/factors/000.py",
        "Corr($close, Log($volume+1), 5)",
        "No statistics: the training values of this column are not at hand",
        "REV_3D 0.0003 0.0391",
        "Ref($close, -2)/Ref($close, -1) - 1",
        "Price adjustment not recorded",
        "test 2021-11-01 open",
        "912,334 bytes",
        "digest: see the build log",
        " ".join(FACTOR_CODE.split()),
    ):
        assert expected in text, expected
    assert [line for line in text.split("Position Name")[1].split() if line in {"CORR5", "REV_3D", "STD5"}][:3] == [
        "CORR5",
        "REV_3D",
        "STD5",
    ]


def test_card_says_of_each_factor_whether_graphs_compute_it() -> None:
    """What was compiled with its expression, columns and proof, the programs and their tolerances; otherwise the reason."""
    text = Document(render_card(compiled_manifest(), example_sources())).text
    for expected in (
        "REV_3D in model at position 1 compiled",
        "Compiled to graphs that make it of rows of this stock and of others on the day, with the meaning of pandas 2",
        "Computes rank by day of -(close / close 3 rows before - 1) less its mean by day and sector",
        "Reads close of the bars (float32), sector of the side table (text)",
        "Proof against combined_factors_df.parquet: 2,850 of 2,852 cells within 1e-09, 46 dates, 62 stocks, NaN equal, "
        "97.8% same bits, worst 3e-11",
        "Side table sector (text, at most 2.00% missing)",
        "Checked on 120 rows of close up to 2021-12-24, in golden_factors.parquet",
        "REV_3D 4 close, rows of the bars, weekday of the date, sector of the side table 2 graphs, across stocks: mean, rank",
        "REV_3D 1e-09",
    ):
        assert expected in text, expected
    refused = Document(render_card(not_compiled_manifest(), example_sources())).text
    assert "REV_3D in model at position 1 not compiled" in refused
    assert "Compiled no: looks_ahead, line 7, Series.shift: it uses later rows" in refused
    assert "Compiled" not in Document(render_card(example_manifest(), example_sources())).text


def test_not_ready_shows_each_reason() -> None:
    """A bundle that is not ready says so first, with code and text of every reason; parity out of bounds is named."""
    manifest = example_manifest()
    case = msgspec.structs.replace(
        manifest.parity.cases[0], largest_ulp=7, bit_identical=2300, largest_difference=1.5e-16
    )
    manifest = msgspec.structs.replace(
        manifest,
        eligibility=m.Eligibility(
            ready=False,
            reasons=[
                m.Reason(code="order.not_replayed", text="no raw values"),
                m.Reason(code="parity.bound", text="7 ulp"),
            ],
        ),
        order=m.Order(proof="given", evidence=[], replay=None),
        parity=msgspec.structs.replace(
            manifest.parity, within_bound=False, cases=[case], days=None, note="without lightgbm"
        ),
    )
    text = Document(render_card(manifest, {})).text
    assert (
        "✕ Not ready 2 reasons against using this bundle for trading: order.not_replayed no raw values parity.bound 7 ulp"
        in text
    )
    assert (
        "✕ Out of bounds 2,300 of 2,369 rows bit-identical; largest difference 7 ulp (bound: sums in tree order, in double)"
        in text
    )
    assert "Feature order Given stated by the person who built the bundle" in text
    assert "without lightgbm" in text
    assert "✓" not in text
    assert "The text of sources/factors/000.py is not shown here." in text


def test_sparse_manifest_renders() -> None:
    """Every part that may be null or empty is null or empty, and the card still stands and says so."""
    manifest = example_manifest()
    source = msgspec.structs.replace(
        manifest.source,
        task_id=None,
        snapshot=None,
        run=None,
        workspace=None,
        anchor=m.Anchor(
            rule="scan",
            why="newest run",
            history_index=None,
            loop=None,
            kind="unknown",
            experiment=None,
            hypothesis=None,
            reason=None,
        ),
    )
    bare = {"expression": None, "source": None, "description": None, "formulation": None, "variables": None}
    feature = m.Feature(
        name="F",
        origin="unknown",
        dtype="float32",
        look_back=None,
        look_back_from=None,
        look_ahead=None,
        inputs=None,
        not_compiled=None,
        used=None,
        statistics=None,
        statistics_missing=None,
        **bare,
    )
    manifest = msgspec.structs.replace(
        manifest,
        source=source,
        features=[feature],
        sota_factors=[],
        metrics=m.Metrics(segment=None, costs={}, values={}),
        strategy=None,
        factors=None,
        alphas=None,
        label=m.Label(name=None, expression=None, processors=[]),
        stages=[
            m.CrossSectionStage(
                processor={"class": "CSRankNorm", "nested": {"a": {"b": {"c": {"d": [1, None]}}}}},
                universe="stocks of the day",
            ),
            m.WindowStage(length=20, fill="ffill+bfill"),
            m.GraphStage(file="model.onnx", processors=[]),
        ],
        data=msgspec.structs.replace(
            manifest.data, universe=None, benchmark=None, segments={}, loader_classes=[], dataset_class=None
        ),
        parity=m.Parity(
            bound=m.Bound(ulp=0, relative=None, absolute=None, text=""),
            within_bound=True,
            judges=[],
            cases=[],
            days=None,
            note=None,
        ),
    )
    document = Document(render_card(manifest, {}))
    assert document.problems == []
    for expected in (
        "The history has no accepted factors.",
        "No metrics are recorded.",
        "The bundle computes no feature from bars",
        "Excess return and drawdown: no picture, because not measured.",
        "No segments are recorded.",
        "The last 20 rows of each stock",
        "nothing is scaled or filled",
        '{"d": [1, null]}',
        "0 F of unknown origin float32 – unknown – –",
    ):
        assert expected in document.text, expected
    assert "No rows compared" in document.text


def test_sections_are_anchored_once() -> None:
    """Every section has an anchor of its own, and the navigation lists those that are shown."""
    anchors = [anchor for anchor, _, _ in SECTIONS]
    assert len(set(anchors)) == len(anchors)
    document = Document(render_card(example_manifest(), {}))
    assert "sources" not in document.values("id")
    assert [anchor for anchor in anchors if anchor != "sources"] == [
        value for value in document.values("id") if value in anchors
    ]


@pytest.mark.parametrize("text", ["&lt;b&gt;", "a & b", "\"quoted\" 'single'", "-->", "]]>", "</title><b>"])
def test_elements_keep_text_exactly(text: str) -> None:
    """What goes into an element as text is what a browser reads back, also in the title."""
    document = Document(page(text, "p { margin: 0 }", element("p", text)))
    assert document.texts.count(text) == 2
    assert document.problems == []
