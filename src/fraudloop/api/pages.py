"""The pages of the API as plain, self-contained HTML: the description for people, and where to begin. Values in, text out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#e1e5ea;--back:#fff;--card:#f7f8fa;--link:#0b62c4;--get:#0a7d54;--post:#0b62c4;--put:#9a5b00;
--delete:#b3261e;--good:#0a7d54;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#9aa5b4;--line:#2b333e;--back:#12161c;--card:#1a2028;--link:#7ab4ff;--get:#5fd0a2;--post:#7ab4ff;
--put:#f0b35a;--delete:#ff8a80;--good:#5fd0a2;--bad:#ff8a80}}
*{box-sizing:border-box}body{margin:0;font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:var(--ink);background:var(--back)}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 5rem}a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
h1{font-size:2rem;margin:0 0 .25rem;letter-spacing:-.01em}h2{font-size:1.25rem;margin:2.75rem 0 .35rem}h3{font-size:.82rem;margin:1.1rem 0 .35rem;color:var(--soft);font-weight:600}
p{margin:.35rem 0 .75rem}.soft{color:var(--soft)}code,pre{font:.86em/1.5 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem .95rem;overflow:auto;margin:.4rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
details{border:1px solid var(--line);border-radius:10px;margin:.55rem 0;background:var(--back)}
summary{cursor:pointer;padding:.65rem .9rem;display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap;list-style:none}summary::-webkit-details-marker{display:none}
details[open]>summary{border-bottom:1px solid var(--line);background:var(--card);border-radius:10px 10px 0 0}.in{padding:.5rem 1rem 1rem}
.verb{font:600 .78rem ui-monospace,Menlo,"DejaVu Sans Mono",monospace;min-width:3.9rem;color:var(--c)}.GET{--c:var(--get)}.POST{--c:var(--post)}.PUT{--c:var(--put)}
.DELETE{--c:var(--delete)}.path{font-weight:600}.scope{margin-left:auto;font-size:.78rem;color:var(--soft);border:1px solid var(--line);border-radius:99px;padding:0 .55rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}td,th{text-align:left;padding:.34rem .7rem .34rem 0;border-bottom:1px solid var(--line);vertical-align:top}td:nth-child(2){max-width:17rem}
th{color:var(--soft);font-weight:600}.dot{display:inline-block;width:.6rem;height:.6rem;border-radius:50%;background:var(--c);margin-right:.5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.4rem;margin:.6rem 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
nav a{margin-right:1.1rem}
"""


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head><body><main>{body}</main></body></html>'
    )


def docs(document: Mapping[str, Any]) -> str:
    """The description as a page: routes by tag, each with its body, an example that can be pasted, its answer and its errors."""
    info = document["info"]
    schemas = document["components"]["schemas"]
    parts = [
        f'<h1>{escape(info["title"])} API</h1><p class="soft">version {escape(info["version"])} · <a href="/openapi.json">openapi.json</a> · <a href="/">start</a></p>',
        f"<p>{_text(info['description'])}</p>",
        f"<p>{_text(document['components']['securitySchemes']['key']['description'])} On 127.0.0.1 no key is needed while none was made.</p>",
    ]
    for tag in document["tags"]:
        parts.append(
            f'<h2 id="{escape(tag["name"])}">{escape(tag["name"].capitalize())}</h2><p class="soft">{_text(tag["description"])}</p>'
        )
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    parts.append(_route(method.upper(), path, operation, schemas))
    parts.append("<h2>Errors</h2><p>One body on every route: <code>application/problem+json</code>.</p>")
    parts.append(_fields(schemas["Problem"], schemas))
    return _page(f"{info['title']} API", "".join(parts))


def _route(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    open_ = " open" if operation["operationId"] == "score" else ""
    text = operation["description"]
    scope = text.partition(" Scope: `")[2].rstrip("`.")
    inner = [f"<p>{_text(text)}</p>"]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if body:
        inner.append(f"<h3>Body</h3>{_fields(body['schema'], schemas)}")
    if body.get("example") is not None:
        example = json.dumps(body["example"], ensure_ascii=False)
        line = f"curl -X {method} http://127.0.0.1:8000{path} \\\n  -H 'content-type: application/json' \\\n  -d '{example}'"
        inner.append(f"<h3>Example</h3><pre>{escape(line, quote=False)}</pre>")
    elif method == "GET":
        inner.append(f"<h3>Example</h3><pre>{escape(f'curl http://127.0.0.1:8000{path}')}</pre>")
    [content] = operation["responses"]["200"]["content"].items()
    inner.append(f"<h3>Answer · {escape(content[0])}</h3>{_fields(content[1]['schema'], schemas)}")
    rows = "".join(
        f"<tr><td>{code}</td><td>{_text(r['description'])}</td></tr>" for code, r in operation["responses"].items() if code != "200"
    )
    inner.append(f"<details><summary>Errors</summary><div class=in><table>{rows}</table></div></details>")
    badge = f'<span class="scope">{escape(scope)}</span>' if scope else ""
    return (
        f'<details id="{escape(operation["operationId"])}"{open_}><summary><span class="verb {method}">{method}</span><code class="path">{escape(path)}</code>'
        f'<span class="soft">{escape(operation["summary"])}</span>{badge}</summary><div class="in">{"".join(inner)}</div></details>'
    )


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The fields of a schema as a table, each of several shapes after the other."""
    schema = _resolved(schema, schemas)
    if "anyOf" in schema:
        return "<p class=soft>one of</p>".join(_fields(part, schemas) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"<p class=soft>a list of</p>{_fields(schema['items'], schemas)}"
    head = f"<p>{_text(schema.get('description', ''))}</p>" if schema.get("description") else ""
    properties = schema.get("properties")
    if not properties:
        return head or f"<p class=soft>{escape(str(schema.get('type', 'anything')))}</p>"
    needed = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td class=soft>{escape(_kind(part, schemas))}{'' if name in needed else ', optional'}</td>"
        f"<td>{_text(part.get('description', ''))}</td></tr>"
        for name, part in properties.items()
    )
    return f"{head}<table><tr><th>field</th><th>type</th><th></th></tr>{rows}</table>"


def _kind(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(part, schemas) for part in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join("null" if word is None else str(word) for word in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}), schemas)}"
    found = schema.get("type", "anything")
    return " or ".join(found) if isinstance(found, list) else str(found)


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    return schemas[str(schema["$ref"]).rpartition("/")[2]] if "$ref" in schema else schema


def _text(text: str) -> str:
    """Escaped, with `code` as code."""
    out: Iterator[str] = (f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(escape(text, quote=False).split("`")))
    return "".join(out)


_TRY: Final = """curl -X POST http://127.0.0.1:8000/score_transaction \\
  -H 'content-type: application/json' \\
  -d '{"transaction_id": "t-1", "timestamp": "2026-11-28T12:00:00Z", "amount": "49.90", "currency": "EUR", "customer_id": "c-7", "merchant_id": "m-3"}'"""


def home(version: str, health: Mapping[str, Any] | None, in_force: Mapping[str, str], links: Mapping[str, str]) -> str:
    """Where to begin. health: of the scorer, None where it does not answer. in_force: hash by slot. links: path -> what is there."""
    if health is None:
        state, colour = "the scorer does not answer", "--bad"
    elif not health.get("ready"):
        state, colour = f"not ready: {', '.join(health.get('why', [])) or health.get('role')}", "--bad"
    elif health.get("degraded"):
        state, colour = f"degraded: {', '.join(health.get('why', []))}", "--put"
    else:
        state, colour = "ready", "--good"
    facts = "".join(f"<dt>{escape(name)}</dt><dd><code>{escape(value)}</code></dd>" for name, value in in_force.items())
    if health is not None:
        facts += f"<dt>log position</dt><dd><code>{health.get('lsn')}</code></dd><dt>role</dt><dd>{escape(str(health.get('role')))}</dd>"
    nav = "".join(f'<a href="{escape(path)}">{escape(text)}</a>' for path, text in links.items())
    return _page(
        "fraudloop",
        f'<h1>fraudloop</h1><p class="soft">version {escape(version)}</p><p><span class="dot" style="--c:var({colour})"></span>{escape(state)}</p>'
        f"<nav>{nav}</nav>"
        f"<h2>Ask for a decision</h2><pre>{escape(_TRY, quote=False)}</pre><h2>In force</h2><dl>{facts or '<dd class=soft>nothing is known yet</dd>'}</dl>",
    )
