"""A page put together: one file of HTML that needs nothing else, and asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.metadata
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from ...errors import MissingExtra
from ..analysis.ensembles import CHANGING
from ..figures.depths import saved_logarithmically
from . import attention, clusters, curves, packing, pictures, thinning, view
from .account import Account
from .held import held

HERE = Path(__file__).parent
SCRIPTS = ("unpack.js", "tokens.js", "charts.js", "page.js")  # in this order one script
MOST_BYTES = 10_000_000
LONGEST_TEXT = 100_000  # characters of a scenario that are shown
LONGEST_VALUE = 2000  # of anything else
LONGEST_STRING = 60  # of a token


def trajectory_page(trajectory: Any, account: Account, replica: int = 0) -> str:
    """The page of one replica of a trajectory.

    Raises MissingExtra without plotly, whose charts the observables are.
    """
    plotly = _plotly()
    trajectory = held(trajectory)
    choice = thinning.choose(trajectory, replica)
    notices, data, together = list(account.notices), {}, ""
    figures: list[pictures.Picture] = []
    if not len(choice.frames):
        notices.append("The file holds no frames: there is nothing to see.")
    else:
        found = clusters.clusters_of(trajectory, choice, account.cluster_distance)
        figures, left_out = pictures.pictures_of(trajectory, choice, found, account.law_at)
        notices += left_out
        together = _together(
            clusters.named(trajectory, choice, found.distance), float(trajectory.times[choice.frames[-1]])
        )
        data = _data(trajectory, account, choice, found)
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    interactive = ""
    if data:
        scripts = [
            f'<script type="application/json" id="data">{packing.in_script(data)}</script>',
            f'<script type="text/plain" id="plotly">{packing.packed_text(plotly)}</script>',
            f'<script type="module">{script}</script>',
        ]
        interactive = _template("view.html").substitute(
            sentence=_text(data["sentence"]), thinned=_paragraphs(data["thinned"]), scripts="\n".join(scripts)
        )
    allowed = [script, plotly] if data else []
    return _page(trajectory, account, notices, allowed, interactive=interactive, figures=figures, table=together)


def study_page(study: Any, account: Account, figures: Sequence[pictures.Picture], table: str) -> str:
    """The page of a sweep or a limit study: its figure, its numbers as they are printed, and what it was."""
    body = f"<section><h2>In numbers</h2><pre>{_text(table)}</pre></section>"
    return _page(study, account, account.notices, [], interactive="", figures=figures, table=body)


def _data(trajectory: Any, account: Account, choice: thinning.Choice, found: clusters.Clusters) -> dict[str, Any]:
    """What the script of the page reads."""
    seen = view.view_of(trajectory, choice)
    times = np.asarray(trajectory.times)[choice.frames]
    strings = trajectory.token_strings
    thinned = list(choice.sentences)
    data = {
        "kind": seen.kind,
        "axes": seen.axes,
        "radius": seen.radius,
        "grows": seen.grows,
        "places": packing.packed(packing.quantised(seen.places, seen.extents[:, None, None])),
        "extents": seen.extents,
        "times": times,
        "frames": choice.frames,
        "allFrames": choice.all_frames,
        "logarithmic": saved_logarithmically(np.asarray(trajectory.times)),
        "layerStep": account.layer_step,
        "tokens": choice.tokens,
        "allTokens": choice.all_tokens,
        "strings": None if strings is None else [strings[token][:LONGEST_STRING] for token in choice.tokens],
        "attendedStrings": {},
        "weights": packing.packed(_weights(trajectory, choice)),
        "clusters": packing.packed(found.numbers),
        "counts": found.counts,
        "observables": curves.charts_of(trajectory, choice),
        "attention": None,
        "sentence": f"{seen.sentence} Tokens within {found.distance:.4g} of one another are one cluster.",
    }
    if choice.all_tokens > clusters.MOST_JOINED:
        thinned.append("Clusters are those of the tokens shown.")
    if account.law_at is not None:
        rows = attention.rows_of(trajectory, choice, account.law_at)
        data["attention"] = None if rows is None else rows.for_page()
        if rows is not None and strings is not None:
            seen_tokens = np.unique(rows.to)[: 10 * thinning.MOST_TOKENS].tolist()
            data["attendedStrings"] = {token: strings[token][:LONGEST_STRING] for token in seen_tokens}
        thinned += ["The page holds no attention: there are too many tokens."] if rows is None else rows.sentences
    return data | {"thinned": thinned}


def _weights(trajectory: Any, choice: thinning.Choice) -> np.ndarray:
    """Token weights times the number of tokens, (frames or 1, tokens) float32."""
    weights = choice.weights[None]
    if CHANGING in trajectory.observables:
        weights = np.asarray(trajectory.observables[CHANGING])[choice.frames, choice.replica][:, choice.tokens]
    return (weights * choice.all_tokens).astype(np.float32)


def _page(
    subject: Any,
    account: Account,
    notices: Iterable[str],
    allowed: Sequence[str],
    *,
    interactive: str,
    figures: Sequence[pictures.Picture],
    table: str = "",
) -> str:
    policy = [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    if allowed:  # these scripts and no others
        policy.append(f"script-src {' '.join(map(_hash, allowed))}")
    return _template("page.html").substitute(
        policy="; ".join(policy),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        title=_text(account.title[:LONGEST_VALUE]),
        lead=_text(account.lead),
        notices="".join(f'<p class="notice">{_text(notice)}</p>' for notice in notices),
        facts=_terms(account.facts),
        interactive=interactive,
        table=table,
        figures=_figures(figures),
        scenario=_text(_cut(subject.scenario_text, LONGEST_TEXT)),
        again=_text(account.again),
        provenance=_terms(_flat(subject.provenance)),
        version=_text(_version()),
    )


def _together(rows: Sequence[tuple[str, str]], depth: float) -> str:
    """The clusters of a frame by their tokens."""
    if not rows:
        return ""
    return (
        f'<section id="together"><h2>Which tokens are together at depth {depth:.6g}</h2>'
        f'<dl class="terms">{_terms(rows)}</dl></section>'
    )


def _figures(figures: Sequence[pictures.Picture]) -> str:
    if not figures:
        return ""
    shown = "".join(
        f'<figure><img src="{picture.source}" alt="{_text(picture.words)}" width="{picture.width}" '
        f'height="{picture.height}"><figcaption>{_text(picture.caption)}</figcaption></figure>'
        for picture in figures
    )
    more = '<p class="hint">attndyn plot --kind all draws these and others, for print.</p>'
    return f'<section id="figures"><h2>Figures</h2>{shown}{more}</section>'


def _flat(provenance: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Provenance as terms; the values of all keys of the scenario are left out, whose text is on the page."""
    found = []
    for key, value in provenance.items():
        if key == "values" and not above:
            continue
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            found += _flat(value, f"{name}, ")
        elif value is not None:
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            found.append((name, text if isinstance(value, str | int | float | list) else json.dumps(value)))
    return found


def _terms(pairs: Iterable[tuple[str, str]]) -> str:
    rows = ((_cut(name, LONGEST_VALUE), _cut(value, LONGEST_VALUE)) for name, value in pairs)
    return "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in rows)


def _cut(text: str, longest: int) -> str:
    """A text, or its beginning."""
    return text if len(text) <= longest else f"{text[:longest]} ... ({len(text)} characters)"


def _paragraphs(sentences: Sequence[str]) -> str:
    return f"<p>{_text(' '.join(sentences))}</p>" if sentences else ""


def _text(text: str) -> str:
    """Any text as HTML; without the control characters and lone surrogates that a page may not hold."""
    lines = str(text).replace("\r\n", "\n").replace("\r", "\n")  # as a browser does with them
    plain = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\ufffd", lines)
    return html.escape(plain, quote=True)


def _template(name: str) -> Template:
    return Template((HERE / name).read_text(encoding="utf-8"))


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _version() -> str:
    return importlib.metadata.version("attndyn")


def _plotly() -> str:
    """The text of plotly.js, as a script within a page has it."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MissingExtra("a report needs plotly: pip install 'attndyn[report]'") from None
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")
