#!/bin/sh
# Resolves pyproject.toml into requirements/*.txt with hashes: `sh tools/lock.sh .venv`. Needs the network.
set -eu
py=$1/bin/python
"$py" -m uv --version >/dev/null 2>&1 || "$py" -m pip install -q --require-hashes -r requirements/uv.txt
compile() {
    "$py" -m uv pip compile -q --generate-hashes --universal --fork-strategy fewest --python-version 3.11 --no-header "$@"
}
compile requirements/uv.in -o requirements/uv.txt
compile pyproject.toml -o requirements/core.txt
compile pyproject.toml --extra dev -o requirements/dev.txt
# The versions that are tested are those that serve: what an output file holds is kept where it can be.
cp requirements/dev.txt requirements/serve.txt
compile pyproject.toml --extra serve -o requirements/serve.txt
