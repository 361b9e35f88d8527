"""Settings: read once from an environment, checked, and never showing the key."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from fraudloop.errors import InputError
from fraudloop.settings import DEFAULT_HASH_KEY, HASH_KEY_BYTES, TOKEN_KEY_BYTES, Settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"FRAUDLOOP_ZONE": "", "FRAUDLOOP_HASH_KEY": "", "FRAUDLOOP_CACHE_DIR": ""}) == Settings()
    assert len(DEFAULT_HASH_KEY) == HASH_KEY_BYTES


def test_every_field_has_its_variable() -> None:
    env = {
        "FRAUDLOOP_HASH_KEY": "ab" * 16,
        "FRAUDLOOP_TOKEN_KEY": "cd" * 32,
        "FRAUDLOOP_TOKEN_KEY_ID": "k2",
        "FRAUDLOOP_CACHE_DIR": "kernels",
        "FRAUDLOOP_STORE": "models",
        "FRAUDLOOP_BASE_CURRENCY": "USD",
        "FRAUDLOOP_ZONE": "Europe/Berlin",
        "FRAUDLOOP_TRACKING": "sqlite:///runs.db",
        "FRAUDLOOP_ARTIFACTS": "s3://bucket/prefix",
        "FRAUDLOOP_API_KEY": "k",
        "FRAUDLOOP_DEBUG": "1",
    }
    assert set(env) == {"FRAUDLOOP_" + f.name.upper() for f in dataclasses.fields(Settings)}
    assert Settings.from_env(env) == Settings(
        hash_key=b"\xab" * 16,
        token_key=b"\xcd" * 32,
        token_key_id="k2",
        cache_dir=Path("kernels").absolute(),
        store=Path("models").absolute(),
        base_currency="USD",
        zone="Europe/Berlin",
        tracking="sqlite:///runs.db",
        artifacts="s3://bucket/prefix",
        api_key="k",
        debug=True,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FRAUDLOOP_HASH_KEY", "abc"),
        ("FRAUDLOOP_HASH_KEY", "zz" * 16),
        ("FRAUDLOOP_TOKEN_KEY", "abc"),
        ("FRAUDLOOP_TOKEN_KEY_ID", "two words"),
        ("FRAUDLOOP_BASE_CURRENCY", "euro"),
        ("FRAUDLOOP_ZONE", "Mars/Olympus"),
        ("FRAUDLOOP_ZONE", "../etc/passwd"),
        ("FRAUDLOOP_DEBUG", "perhaps"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(InputError, match=name) as caught:
        Settings.from_env({name: value})
    assert caught.value.fields == {"variable": name}
    assert caught.value.exit_code == 2


def test_a_misspelt_variable_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean FRAUDLOOP_BASE_CURRENCY"):
        Settings.from_env({"FRAUDLOOP_BASE_CURENCY": "USD"})


def test_variables_of_others_are_not_looked_at() -> None:
    assert Settings.from_env({"PATH": "/bin", "FRAUDLOOP_PROVE": "1"}) == Settings()


@pytest.mark.parametrize(("name", "size"), [("FRAUDLOOP_HASH_KEY", HASH_KEY_BYTES), ("FRAUDLOOP_TOKEN_KEY", TOKEN_KEY_BYTES)])
def test_a_key_is_never_shown(name: str, size: int) -> None:
    secret = "5e" * size
    settings = Settings.from_env({name: secret})
    assert bytes.fromhex(secret) in (settings.hash_key, settings.token_key)
    assert secret not in repr(settings)
    assert repr(bytes.fromhex(secret)) not in repr(settings)
    with pytest.raises(InputError) as caught:
        Settings.from_env({name: secret[:-1]})
    assert secret[:-1] not in str(caught.value)


def test_tokens_made_with_an_own_key_say_so() -> None:
    assert Settings.from_env({}).token_key_id == "default"
    assert Settings.from_env({"FRAUDLOOP_TOKEN_KEY": "5e" * 32}).token_key_id == "own"


def test_every_setting_stands_in_its_reference_page_and_no_other_does() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md").read_text("utf-8")
    shown = set(re.findall(r"^\| `(FRAUDLOOP_[A-Z_]+)` \|", page, re.MULTILINE))
    assert shown == {"FRAUDLOOP_" + f.name.upper() for f in dataclasses.fields(Settings)}
