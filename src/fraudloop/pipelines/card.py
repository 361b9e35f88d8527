"""`models card`: the model card of a bundle as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fraudloop.errors import InputError
from fraudloop.reports.gate_report import gate_report_html
from fraudloop.reports.model_card import model_card_html
from fraudloop.scoring.bundle import Bundle


def card_file(bundle: Bundle | Path, out: Path, gate_report: Mapping[str, Any] | Path | None = None) -> Path:
    """Write the card of a bundle (or of the folder of one) to an HTML file.

    gate_report: a gate report of the same bundle, as its dictionary or as a JSON file. InputError if it is of another
    bundle or the file cannot be written; BundleError if the bundle is damaged.
    """
    found = bundle if isinstance(bundle, Bundle) else Bundle.load(Path(bundle))
    gate = read_report(gate_report) if isinstance(gate_report, Path) else gate_report
    return _write(Path(out), model_card_html(found, gate))


def gate_report_file(report: Mapping[str, Any] | Path, out: Path, title: str = "Gate report") -> Path:
    """Write a gate report to an HTML file, and its JSON beside it under the same name."""
    body = read_report(report) if isinstance(report, Path) else report
    path = _write(Path(out), gate_report_html(body, title))
    _write(path.with_suffix(".json"), json.dumps(body, indent=1, ensure_ascii=False) + "\n")
    return path


def read_report(path: Path) -> dict[str, Any]:
    """A gate report from its JSON file; InputError if it is none."""
    try:
        body = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not a gate report in JSON ({error})") from error
    if not isinstance(body, dict):
        raise InputError(f"{path}: not a gate report in JSON")
    return body


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
    return path
