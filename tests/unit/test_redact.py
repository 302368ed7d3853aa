"""Secrets that must not be shown, and words that only look like them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.redact import MASK, redact

# put together here, so that nobody who scans this repository for secrets finds one
KEY = "sk-" + "proj-Abc123def456ghi789jkl012"
GITHUB = "ghp" + "_" + "a1B2" * 9
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0" + ".c2lnbmF0dXJl"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nIBAAKCAQ\n-----END RSA " + "PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(f"key {KEY}.", f"key {MASK}.", id="a key of a model provider"),
        pytest.param(f"{GITHUB}\n", f"{MASK}\n", id="a GitHub token"),
        pytest.param("github_pat_" + "x1" * 20, MASK, id="a fine-grained GitHub token"),
        pytest.param("glpat-" + "x1" * 12, MASK, id="a GitLab token"),
        pytest.param(f"id={AWS}", f"id={MASK}", id="an AWS key id"),
        pytest.param("aws_secret_access_key = " + "wJalr/XUt+" * 4, f"aws_secret_access_key = {MASK}", id="AWS secret"),
        pytest.param("xoxb-" + "1234567890-abc", MASK, id="a Slack token"),
        pytest.param("AIza" + "x" * 35, MASK, id="a Google key"),
        pytest.param(f"jwt {JWT} end", f"jwt {MASK} end", id="a JSON web token"),
        pytest.param(f"a\n{PEM}\nb", f"a\n{MASK}\nb", id="a private key"),
        pytest.param("Authorization: Bearer abc.def-123", f"Authorization: Bearer {MASK}", id="a header"),
        pytest.param("authorization: basic dXNlcg==", f"authorization: basic {MASK}", id="a header in small letters"),
        pytest.param('{"Authorization": "Bearer abc"}', f'{{"Authorization": "Bearer {MASK}"}}', id="a header in JSON"),
        pytest.param("Proxy-Authorization: Basic eA==", f"Proxy-Authorization: Basic {MASK}", id="a proxy's header"),
        pytest.param("Authorization: " + "r" * 20, f"Authorization: {MASK}", id="a header without a scheme"),
        pytest.param("curl -H 'X-Api-Key: 12345678'", f"curl -H 'X-Api-Key: {MASK}'", id="a key's header"),
        pytest.param("https://me:pa55w0rd@host/x", f"https://me:{MASK}@host/x", id="a password in a URL"),
        pytest.param("postgres://u:p%40ss@db:5432/x", f"postgres://u:{MASK}@db:5432/x", id="a database's URL"),
        pytest.param("https://" + "t0ken" * 5 + "@host/x", f"https://{MASK}@host/x", id="a token as a URL's user"),
        pytest.param("OPENAI_API_KEY=abcdefgh next", f"OPENAI_API_KEY={MASK} next", id="an assignment"),
        pytest.param('DB_PASSWORD="hunter22"', f'DB_PASSWORD="{MASK}"', id="a quoted assignment"),
        pytest.param("TOKEN=abcdefgh", f"TOKEN={MASK}", id="a short assignment"),
        pytest.param(f"{KEY} {GITHUB} {KEY}", f"{MASK} {MASK} {MASK}", id="several"),
    ],
)
def test_a_secret_is_masked_and_what_stands_around_it_stays(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "task-with-a-very-long-name-and-a-number-12",
        "sk-learn-based-classifier-of-things",
        "merge 3f2504e04f8911d39a0c0305e82c3301aabbccdd into main",
        "https://example.org/a@b and ssh://git@example.org/x.git",
        "http://localhost:8080/path",
        "the bearer of bad news; authorization required; authorization: none",
        "token 12 expired, key=3, PRIMARY KEY (id)",
        "{'token': 7, 'attempt': 'auth-system/db-schema-2'}",
        "-----BEGIN CERTIFICATE-----",
        "",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


@given(st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.timeout(60)  # a search that goes over the text again and again would take hours
@pytest.mark.parametrize(
    "piece",
    [
        "sk-",
        "sk-a",
        "eyJaaaaaaaaaaa.",
        "-----BEGIN PRIVATE KEY-----",
        "a://",
        "a://b:",
        "A_",
        "authorization: ",
        "a" * 9,
    ],
)
def test_no_text_makes_it_slow(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    assert len(redact(text)) > 0
