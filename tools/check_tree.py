"""What must not stand in the tree: registry hosts, paths of one machine, card numbers that could be real.

python tools/check_tree.py [FOLDER]     lists each place and exits with 1 if there is any
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: The hosts that package clients are pointed at by their own configuration, never by a file of the project.
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|npmjs\.com|deb\.debian\.org|conda\.anaconda\.org|--(?:extra-)?index-url"
)

#: Folders of somebody's machine; /tmp, /usr and /etc are everybody's.
MACHINE_PATH = re.compile(r"(?<![\w.:/~$}*-])/(?:home|root|Users|work|opt/\w+)/[\w.]+")

#: 13 to 19 digits, plain or in the groups that people write.
DIGITS = re.compile(
    r"(?<![\w.+-])(?:\d{13,19}|\d{4}(?P<gap>[ -])\d{4}(?P=gap)\d{4}(?P=gap)\d{1,7}|\d{4}(?P<amex>[ -])\d{6}(?P=amex)\d{5})(?![\w.]|-\d)"
)

#: Issuer ranges and lengths of the schemes (ISO/IEC 7812).
SCHEMES = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|35(?:2[89]|[3-8]\d)\d{12,15}|62\d{14,17}"
)

#: Numbers that schemes and processors publish for tests; no account stands behind them.
PUBLISHED = frozenset(
    {
        "4111111111111111",
        "4012888888881881",
        "4222222222222",
        "4242424242424242",
        "4000056655665556",
        "4000000000000002",
        "4000002500003155",
        "5555555555554444",
        "5105105105105100",
        "5200828282828210",
        "2223003122003222",
        "2223000048400011",
        "378282246310005",
        "371449635398431",
        "378734493671000",
        "30569309025904",
        "38520000023237",
        "36227206271667",
        "6011111111111117",
        "6011000990139424",
        "6011981111111113",
        "3530111333300000",
        "3566002020360505",
        "6200000000000005",
    }
)

BINARY = frozenset({".parquet", ".png", ".onnx", ".gz", ".zip", ".nbc", ".nbi", ".npz"})


def findings(text: str) -> Iterator[tuple[int, str]]:
    """(line number, what is wrong) of each place in a text; a card number itself is never repeated."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := REGISTRY.search(line):
            yield number, f"names a registry: {found[0]}"
        if found := MACHINE_PATH.search(line):
            yield number, f"names a path of one machine: {found[0]}"
        for digits in DIGITS.finditer(line):
            plain = re.sub(r"\D", "", digits[0])
            if plain not in PUBLISHED and SCHEMES.fullmatch(plain) and luhn(plain):
                yield number, f"holds what could be a real card number ({len(plain)} digits); use a published test number"


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def tracked(root: Path) -> list[Path]:
    """The files of the project: what git tracks, or without git every file outside hidden and made folders."""
    try:
        out = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
        return [root / name for name in out.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        made = {"out", "dist", "_compiled", "__pycache__"}
        return [
            p
            for p in root.rglob("*")
            if p.is_file() and not any(part in made or part.startswith(".") for part in p.relative_to(root).parts[:-1])
        ]


def main(root: Path) -> int:
    bad = 0
    for path in tracked(root):
        if path.suffix in BINARY or not path.is_file():
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, what in findings(text):
            bad += 1
            print(f"{path.relative_to(root)}:{number}: {what}")
    print("the tree holds nothing it must not" if not bad else f"{bad} places to correct")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent))
